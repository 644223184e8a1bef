//! The fuzz target `log`: opens a log that was changed in any way.

#[path = "memory_disk.rs"]
mod memory_disk;

use dmwire::log::{Log, Options, PAGE, Position};
use uuid::Uuid;

use memory_disk::{Image, MemoryDisk};

const ID: Uuid = Uuid::from_u128(5);

fn options() -> Options {
    Options::new(4 * PAGE as u64, 4)
}

/// The records of a log after a position, with their positions.
type Records = Vec<(Position, Vec<u8>)>;

fn open(disk: MemoryDisk, settled: Position) -> Option<(Log<MemoryDisk>, Records)> {
    let mut records = Vec::new();
    let each = |position, record: &[u8]| records.push((position, record.to_vec()));
    let (log, recovery) = Log::open(disk, options(), ID, settled, each).ok()?;
    assert_eq!(recovery.records, records.len() as u64);
    Some((log, records))
}

/// A log of four segments, all of which were used before, with some of its positions.
fn valid() -> (Image, Vec<Position>) {
    let disk = MemoryDisk::default();
    let mut log = Log::create(disk.clone(), options(), ID).expect("it is created");
    let mut positions = vec![Position::START];
    for n in 0..14_u8 {
        let records = vec![vec![n; usize::from(n) * 130]; 1 + usize::from(n % 4)];
        if n % 5 == 4 {
            log.recycle(log.end());
        }
        positions.push(log.append(&records).expect("it is appended"));
    }
    (disk.image(), positions)
}

/// Changes of the files of a valid log. The first byte selects the settled position. Each change has 8 bytes: its kind, the file, the page,
/// the place in the page, and a value. The checksum of a header that is changed may be made right again.
pub fn log(data: &[u8]) {
    let Some((&settled, changes)) = data.split_first() else {
        return;
    };
    let (mut image, positions) = valid();
    let settled = positions[usize::from(settled) % positions.len()];
    let mut is_forged = false;
    for change in changes.chunks_exact(8).take(64) {
        let number = u32::from(change[1] % 5);
        let page = usize::from(change[2] % 4) * PAGE;
        let at = page + usize::from(change[3] % 72);
        let value = &change[4..8];
        let Some(file) = image
            .files
            .get_mut(&number)
            .filter(|file| file.len() == 4 * PAGE)
        else {
            continue;
        };
        match change[0] % 8 {
            0 | 1 => file[at] ^= value[0],
            2 => {
                file[at] ^= value[0];
                is_forged = true;
                sign(&mut file[page..page + 64]);
            }
            3 => {
                let at = page + usize::from(change[3] % 15) * 4;
                file[at..at + 4].copy_from_slice(value);
                is_forged = true;
                sign(&mut file[page..page + 64]);
            }
            4 => file[page..page + PAGE].fill(value[0] / 2),
            5 => file.truncate(at),
            6 => {
                let source = file[page..page + PAGE].to_vec();
                let to = u32::from(value[0] % 4);
                if let Some(file) = image
                    .files
                    .get_mut(&to)
                    .filter(|file| file.len() == 4 * PAGE)
                {
                    let page = usize::from(value[1] % 4) * PAGE;
                    file[page..page + PAGE].copy_from_slice(&source);
                }
            }
            _ => {
                let file = image.files.remove(&number).expect("it exists");
                image.files.insert(u32::from(value[0] % 5), file);
            }
        }
    }
    check(image, settled, is_forged);
}

/// What a log gives does not change by opening it, and records can be appended to it.
fn check(image: Image, settled: Position, is_forged: bool) {
    let disk = MemoryDisk::with(image);
    let Some((log, records)) = open(disk.clone(), settled) else {
        return;
    };
    assert!(records.is_sorted_by_key(|(position, _)| *position));
    assert!(
        records
            .iter()
            .all(|(position, _)| *position > settled && *position <= log.end())
    );
    drop(log);
    let (mut log, again) = open(disk.clone(), settled).expect("it opens again");
    assert!(records == again);
    // Headers with right checksums that the log has not written may have any sequence numbers and positions.
    if is_forged {
        return;
    }
    if let Ok(position) = log.append(&["more"]) {
        let (_, again) = open(disk, settled).expect("it opens again");
        let more = (position, b"more".to_vec());
        assert!([records, vec![more]].concat() == again);
    }
}

/// Makes the checksum of a header right.
fn sign(header: &mut [u8]) {
    let (place, from) = if header.starts_with(b"dmwlog") {
        (8, 12)
    } else {
        (4, 8)
    };
    let checksum = crc32c::crc32c(&header[from..]);
    header[place..place + 4].copy_from_slice(&checksum.to_le_bytes());
}

/// Inputs from which a fuzzer begins.
pub fn seeds() -> Vec<Vec<u8>> {
    let changes: [&[u8]; 8] = [
        &[],
        &[0, 1, 2, 70, 1, 0, 0, 0],
        &[2, 2, 1, 24, 1, 0, 0, 0],
        &[3, 3, 0, 10, 9, 0, 0, 0],
        &[4, 0, 0, 0, 0, 0, 0, 0],
        &[5, 1, 3, 9, 0, 0, 0, 0],
        &[6, 2, 0, 0, 3, 0, 0, 0],
        &[7, 1, 0, 0, 4, 0, 0, 0],
    ];
    let settled = [0, 5, 9, 12, 14];
    let each = settled
        .iter()
        .flat_map(|settled| changes.iter().map(move |change| (settled, change)));
    each.map(|(settled, change)| [&[*settled], *change].concat())
        .collect()
}
