//! The keyword `multipleOf`, in decimal arithmetic: 0.3 is a multiple of 0.1. Its cost does not depend on the exponents, unlike
//! that of exact fractions.

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Value};

/// The keyword that this module implements.
pub(super) const KEYWORD: &str = "multipleOf";

/// A decimal number, `digits` times 10 to the power of `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    digits: u128,
    exponent: i32,
}

struct MultipleOf {
    divisor: Decimal,
}

/// Compiles the keyword.
pub(super) fn compile<'a>(
    _: &'a Map<String, Value>,
    value: &'a Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    match Decimal::of(value) {
        Some(divisor) if divisor.digits > 0 => Ok(Box::new(MultipleOf { divisor })),
        _ => Err(ValidationError::custom("expected a number above 0")),
    }
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            Ok(())
        } else {
            Err(ValidationError::custom("is not a multiple"))
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        Decimal::of(instance).is_none_or(|value| value.is_multiple_of(self.divisor))
    }
}

impl Decimal {
    /// The absolute value of a number, from the shortest decimal notation of a double. `None`: it is not a number.
    fn of(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        if let Some(whole) = number.as_i64() {
            return Some(Self {
                digits: whole.unsigned_abs().into(),
                exponent: 0,
            });
        }
        if let Some(whole) = number.as_u64() {
            return Some(Self {
                digits: whole.into(),
                exponent: 0,
            });
        }
        let text = format!("{:e}", number.as_f64()?.abs());
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i32 = exponent.parse().ok()?;
        Some(Self {
            digits: format!("{whole}{fraction}").parse().ok()?,
            exponent: exponent - i32::try_from(fraction.len()).ok()?,
        })
    }

    fn is_multiple_of(self, divisor: Self) -> bool {
        if self.digits == 0 {
            return true;
        }
        let mut shift = self.exponent - divisor.exponent;
        if shift >= 0 {
            // Digits of a number have at most 20 places, so a product of two remainders fits into 128 bits.
            let mut rest = self.digits % divisor.digits;
            while shift > 0 && rest != 0 {
                rest = rest * 10 % divisor.digits;
                shift -= 1;
            }
            return rest == 0;
        }
        let Some(scale) = 10_u128.checked_pow(shift.unsigned_abs()) else {
            return false;
        };
        divisor
            .digits
            .checked_mul(scale)
            .is_some_and(|scaled| self.digits.is_multiple_of(scaled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn divides(value: &Value, divisor: &Value) -> bool {
        let (value, divisor) = (Decimal::of(value), Decimal::of(divisor));
        value
            .expect("a number")
            .is_multiple_of(divisor.expect("a number"))
    }

    #[test]
    fn multiples_are_decimal() {
        for (value, divisor) in [
            (json!(0), json!(7)),
            (json!(0.3), json!(0.1)),
            (json!(19.99), json!(0.01)),
            (json!(-4), json!(2)),
            (json!(4.5), json!(1.5)),
            (json!(1e308), json!(0.01)),
            (json!(1e-300), json!(1e-300)),
            (json!(u64::MAX), json!(5)),
        ] {
            assert!(divides(&value, &divisor), "{value} {divisor}");
        }
        for (value, divisor) in [
            (json!(1), json!(2)),
            (json!(0.35), json!(0.1)),
            (json!(1e-308), json!(0.01)),
            (json!(1e308), json!(3)),
            (json!(7.5), json!(2)),
        ] {
            assert!(!divides(&value, &divisor), "{value} {divisor}");
        }
    }
}
