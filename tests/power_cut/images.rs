//! Constructs images of a recording after power cuts, and has them checked in parallel.

use std::fmt::{self, Display};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use crate::checks::{self, Checked, Image, Setting};
use crate::cut_points;
use crate::disk::{self, Disk, Loss};
use crate::known::Known;
use crate::recorder::Recording;
use crate::support::Random;

/// The number of images that are checked at the same time.
const PARALLEL: usize = 2;
/// One of so many images is recorded, for a second power cut.
const SECOND: usize = 4;

/// Images of a recording.
pub struct Images<'a> {
    pub recording: &'a Recording,
    pub known: &'a Known,
    pub setting: &'a Setting,
    pub count: usize,
}

/// What was checked.
pub struct Tally {
    points: usize,
    pub checked: Checked,
}

impl Images<'_> {
    /// Checks an image for each point.
    pub fn check(&self, random: &mut Random) -> Tally {
        let records = &self.recording.records;
        let points = cut_points::choose(records, self.count, random);
        let mut tally = Tally {
            points: points.len(),
            checked: Checked::default(),
        };
        let (queue, images) = sync_channel::<(Image, String)>(PARALLEL);
        let images = Mutex::new(images);
        let next = || images.lock().expect("no thread fails here").recv().ok();
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = || {
                let mut checked = Ok(Checked::default());
                while let Some((image, description)) = next() {
                    // The queue is emptied after a failure, so that its other end does not wait.
                    if failed.load(Ordering::Relaxed) {
                        continue;
                    }
                    let check = || checks::check(self.setting, self.known, &image);
                    let outcome =
                        catch_unwind(AssertUnwindSafe(|| explain(&image, &description, check)));
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    checked = checked.and_then(|mut checked| {
                        checked += outcome?;
                        Ok(checked)
                    });
                }
                checked
            };
            let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
            let mut disk = Disk::default();
            let mut rest = records.iter();
            for point in points {
                for record in rest.by_ref().take((point - disk.position()) as usize) {
                    disk.apply(record);
                }
                let loss = Loss::random(random);
                let image = Image {
                    at: point,
                    contents: disk.after(loss, random),
                    seed: random.next(),
                    second: usize::from(random.below(SECOND) == 0),
                };
                queue
                    .send((image, loss.to_string()))
                    .expect("the threads read");
            }
            drop(queue);
            for worker in workers {
                match worker.join().and_then(|checked| checked) {
                    Ok(checked) => tally.checked += checked,
                    Err(panic) => resume_unwind(panic),
                }
            }
        });
        tally
    }
}

/// Runs a check; if it fails, describes the image and stores it.
pub fn explain<T>(image: &Image, description: &str, check: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        let name = format!("power-cut-{:x}", image.seed);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder can be created");
        disk::write(&folder, &image.contents);
        eprintln!(
            "failed after a power cut after {} operations ({description}); the image is in {}",
            image.at,
            folder.display()
        );
        resume_unwind(panic)
    })
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { points, checked } = self;
        let Checked { images, new_epochs } = checked;
        write!(
            f,
            "{points} power cuts, {images} images, {new_epochs} new epochs"
        )
    }
}
