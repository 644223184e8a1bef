//! ext4 on loop devices whose writes can be made to fail.
//!
//! A write fails because the image of the device is made immutable. A full disk below the image would not do: the loop driver
//! reports a write of several blocks as successful if the first one succeeds, so that data is lost without any error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs a program that needs the rights of root.
fn run_as_root(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        other => panic!(
            "this test mounts ext4 on loop devices: it must run as root (CAP_SYS_ADMIN), with the commands mount, losetup, \
             mkfs.ext4 and chattr; {program} {arguments:?}: {other:?}"
        ),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

fn sparse_file(path: &Path, size: u64) {
    let file = fs::File::create(path).expect("a file");
    file.set_len(size).expect("a sparse file");
}

/// A mounted file system. Its files may still be in use when it is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(path).expect("a folder");
        run_as_root("mount", &[arguments, &[text(path)]].concat());
        Self(path.to_owned())
    }

    /// Unmounts the file system. While it is in use, for example by a process that has been killed, it would remain, and mounting
    /// it again would show the same state.
    fn end(self) {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let output = Command::new("umount").arg(&self.0).output();
            match output {
                Ok(output) if output.status.success() => return std::mem::forget(self),
                output if Instant::now() > until => {
                    panic!("umount {}: {output:?}", self.0.display())
                }
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmount = |options: &[&str]| {
            let umount = Command::new("umount").args(options).arg(&self.0).output();
            umount.is_ok_and(|output| output.status.success())
        };
        let _ = unmount(&[]) || unmount(&["-l"]);
    }
}

struct LoopDevice {
    name: String,
    image: PathBuf,
}

impl LoopDevice {
    fn new(image: PathBuf) -> Self {
        let name = run_as_root("losetup", &["--find", "--show", text(&image)]);
        Self { name, image }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.name]).output();
    }
}

/// ext4 on a loop device, possibly with its journal on another one.
pub struct Volume {
    // Unmounted before the devices are removed.
    mount: Option<Mount>,
    device: LoopDevice,
    journal: Option<LoopDevice>,
    path: PathBuf,
}

impl Volume {
    /// Makes a file system in a new image and mounts it at `path`.
    fn create(image: PathBuf, size: u64, journal: Option<PathBuf>, path: &Path) -> Self {
        sparse_file(&image, size);
        let journal = journal.map(|image| {
            sparse_file(&image, 8 * MIB);
            let device = LoopDevice::new(image);
            let arguments = ["-q", "-b", "4096", "-O", "journal_dev", &device.name];
            run_as_root("mkfs.ext4", &arguments);
            device
        });
        let device = LoopDevice::new(image);
        let place = journal.as_ref().map_or_else(
            || "size=4".to_owned(),
            |device| format!("device={}", device.name),
        );
        let options = "nodiscard,lazy_itable_init=0";
        let arguments = ["-q", "-b", "4096", "-m", "0", "-J", &place, "-E", options];
        run_as_root("mkfs.ext4", &[&arguments[..], &[&device.name]].concat());
        Self::mounted(device, journal, path)
    }

    fn mounted(device: LoopDevice, journal: Option<LoopDevice>, path: &Path) -> Self {
        let mut volume = Self {
            mount: None,
            device,
            journal,
            path: path.to_owned(),
        };
        volume.remount();
        volume
    }

    /// Unmounts the file system, which discards what only its cache has, and mounts it again.
    pub fn remount(&mut self) {
        if let Some(mount) = self.mount.take() {
            mount.end();
        }
        // An error in the file system does not make it read-only, unless its journal aborts. The journal is seldom written.
        let journal = self.journal.as_ref();
        let journal = journal.map(|journal| format!(",journal_path={}", journal.name));
        let options = "errors=continue,nodiscard,noatime,commit=300";
        let options = format!("{options}{}", journal.unwrap_or_default());
        let arguments = ["-t", "ext4", "-o", &options, &self.device.name];
        self.mount = Some(Mount::new(&self.path, &arguments));
    }
}

/// Where writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// On the device of the files. The journal of the file system is on another one, so that the file system remains usable.
    Files,
    /// On the device of the files and the journal. If a write to the journal fails, the file system becomes read-only.
    FilesAndJournal,
}

/// A volume whose device can fail. Its image is on another volume, as not every file system can make a file immutable, and that
/// one in memory.
pub struct FailingDisk {
    pub volume: Volume,
    _below: Volume,
    memory: Mount,
}

const MIB: u64 = 1 << 20;

impl FailingDisk {
    /// A volume at `folder`/disk.
    pub fn new(folder: &Path, failure: Failure) -> Self {
        let memory = Mount::new(&folder.join("memory"), &["-t", "tmpfs", "tmpfs"]);
        let (image, below) = (memory.0.join("below"), folder.join("below"));
        let disk_below = Volume::create(image, 96 * MIB, None, &below);
        let journal = (failure == Failure::Files).then(|| memory.0.join("journal"));
        Self {
            volume: Volume::create(below.join("image"), 64 * MIB, journal, &folder.join("disk")),
            _below: disk_below,
            memory,
        }
    }

    /// A volume with what the devices contain now, as after a power failure, mounted at `path`.
    pub fn copy(&self, path: &Path) -> Volume {
        let copy = |device: &LoopDevice, name: &str| {
            let image = self.memory.0.join(name);
            let from = text(&device.image);
            run_as_root("cp", &["--sparse=always", from, text(&image)]);
            LoopDevice::new(image)
        };
        let device = copy(&self.volume.device, "copy");
        let journal = self.volume.journal.as_ref();
        let journal = journal.map(|journal| copy(journal, "copy-of-journal"));
        Volume::mounted(device, journal, path)
    }

    /// Makes writes fail from now on.
    pub fn fail(&self) {
        run_as_root("chattr", &["+i", text(&self.volume.device.image)]);
    }

    /// Lets writes succeed again.
    pub fn heal(&self) {
        run_as_root("chattr", &["-i", text(&self.volume.device.image)]);
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        // So that unmounting succeeds, also after a panic.
        let image = &self.volume.device.image;
        let _ = Command::new("chattr").arg("-i").arg(image).output();
    }
}
