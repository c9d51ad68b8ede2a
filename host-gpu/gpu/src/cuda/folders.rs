//! Folders in which libraries of CUDA are looked for before the system is asked.

use std::path::{Path, PathBuf};

/// The environment variable that lists them: folders of libraries, or of environments that hold NVIDIA's packages.
pub const VARIABLE: &str = "CLAPP_CUDA_LIBRARIES";

/// The folder of libraries in a Python package, below the folder of packages.
const PACKAGES: [&str; 2] = ["nvidia", "lib"];

/// The folders that the user has listed, with those in which packages keep their libraries.
pub fn listed() -> Vec<PathBuf> {
    let list = std::env::var_os(VARIABLE).unwrap_or_default();
    std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).flat_map(|path| below(&path)).collect()
}

/// Folders that often hold them, for where the user has listed none and the system knows none: a toolkit's, and those of
/// Python's environments and packages.
pub fn usual() -> Vec<PathBuf> {
    let toolkit = ["/usr/local/cuda/lib64", "/usr/local/cuda/targets/x86_64-linux/lib"].map(PathBuf::from);
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].map(|name| std::env::var_os(name).map(PathBuf::from));
    let own = std::env::home_dir().map(|home| home.join(".local"));
    let shared = ["/usr/local", "/usr", "/opt/conda"].map(|folder| Some(PathBuf::from(folder)));
    let environments = active.into_iter().chain([own]).chain(shared).flatten();
    let packages = environments.filter(|folder| folder.is_absolute()).flat_map(|folder| in_packages(&folder));
    toolkit.into_iter().filter(|folder| folder.is_dir()).chain(packages).collect()
}

/// The names of the files in a folder, in their order; links count.
pub fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The folder itself; `*/lib` for the folder of NVIDIA's packages; the same in a folder of packages; and the same in an
/// environment (`lib/python*/site-packages`).
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    all.extend(libraries(folder));
    all.extend(libraries(&folder.join(PACKAGES[0])));
    all.extend(in_packages(folder));
    all
}

/// The folders of libraries of the packages in an environment.
fn in_packages(environment: &Path) -> Vec<PathBuf> {
    let pythons = entries(&environment.join("lib")).into_iter();
    let packages = pythons.flat_map(|python| ["site-packages", "dist-packages"].map(|name| python.join(name)));
    packages.flat_map(|packages| libraries(&packages.join(PACKAGES[0]))).collect()
}

/// `*/lib` in a folder.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().map(|package| package.join(PACKAGES[1])).filter(|path| path.is_dir()).collect()
}

/// The folders in a folder, in the order of their names.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut entries: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_each_layout_of_the_packages() {
        let place = tempfile::tempdir().unwrap();
        let packages = place.path().join("lib/python3.12/site-packages");
        let wanted = ["nvidia/cu13/lib", "nvidia/cudnn/lib"].map(|name| packages.join(name));
        for folder in &wanted {
            std::fs::create_dir_all(folder).unwrap();
        }
        for given in [place.path(), &packages, &packages.join("nvidia")] {
            let found = below(given);
            assert_eq!(found[0], given);
            let order: Vec<_> = wanted.iter().map(|folder| found.iter().position(|other| other == folder)).collect();
            assert!(order[0].is_some() && order[0] < order[1], "{given:?}: {found:?}");
        }
        assert_eq!(below(&wanted[0]), [wanted[0].clone()]);
    }
}
