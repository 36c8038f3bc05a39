//! Files that only their owner may read: they hold keys.
//!
//! Each is written under another name and takes its own when it is whole, so that after a crash, or on a
//! full disk, there is never a part of one.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The name that a file has while it is written.
pub(super) fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Creates a file, private from its first octet on. What has that name already goes, whoever may read it
/// or wherever it leads.
///
/// # Errors
///
/// Why it cannot be created.
pub(super) fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the octets of `file` durable, and gives it the name `path`, whatever has that name.
///
/// # Errors
///
/// Why not; what has that name stays then.
pub(super) fn replace(file: &File, partial: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(partial, path)?;
    sync_folder_of(path)
}

/// Makes the octets of `file` durable, and gives it the name `path` if nothing has that name.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] if something has, or why not.
pub(super) fn publish(file: &File, partial: &Path, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::hard_link(partial, path)?;
    fs::remove_file(partial)?;
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    #[test]
    fn what_is_left_of_an_earlier_attempt_does_not_make_a_file_readable_for_others() {
        let folder = std::env::temp_dir().join(format!("{}-private-file", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (path, victim) = (folder.join("users.csv"), folder.join("victim"));
        let partial = partial_path(&path);
        fs::write(&victim, "stays").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
        for left in ["file", "link"] {
            if left == "file" {
                fs::copy(&victim, &partial).unwrap();
            } else {
                symlink(&victim, &partial).unwrap();
            }
            let mut file = create(&partial).unwrap();
            file.write_all(b"key").unwrap();
            replace(&file, &partial, &path).unwrap();
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(
                (mode & 0o777, fs::read(&path).unwrap()),
                (0o600, b"key".to_vec()),
                "{left}"
            );
        }
        assert_eq!(fs::read(&victim).unwrap(), b"stays");
        let file = create(&partial).unwrap();
        let there = publish(&file, &partial, &path).unwrap_err();
        assert_eq!(there.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"key");
        fs::remove_dir_all(&folder).unwrap();
    }
}
