//! Kernels of Debian's suites, fetched without touching the system's own package configuration, and never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Kernel, Series};
use crate::process;
use crate::setup::Progress;

/// Modules that are not built into the cloud kernels, each after those that it needs.
const MODULES: &[&str] = &["llc", "stp", "garp", "mrp", "8021q", "veth", "dummy", "sch_ingress", "cls_bpf"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel of a series from the cache, or else the newest that the suite has.
pub(crate) fn ensure(series: Series, cache: &Path, report: &mut Progress) -> Result<Kernel> {
    let what = format!("kernel {}", series.name);
    if let Some(kernel) = cached(series, cache)? {
        report.found(&what, &kernel.version);
        return Ok(kernel);
    }
    report.install(&what, "from Debian's archive, unpacked and not installed", || {
        let work = cache.join(format!("fetch-{}-{}", series.name, std::process::id()));
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let outcome = fetch(series, cache, &work);
        // Package lists are large and of no further use, whatever came of it.
        drop(fs::remove_dir_all(&work));
        outcome
            .with_context(|| format!("cannot get a kernel {} from Debian's {}", series.name, series.suite))?;
        let kernel = cached(series, cache)?.context("it was unpacked, but is not in the cache")?;
        let detail = kernel.version.clone();
        Ok((kernel, detail))
    })
}

/// Removes what a fetch left behind that was killed.
pub(crate) fn remove_leftovers(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("fetch-") {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Looks for `linux-<version>/` of the series: it appears there only when it is complete.
fn cached(series: Series, cache: &Path) -> Result<Option<Kernel>> {
    let prefix = format!("linux-{}.", series.name);
    let mut versions = Vec::new();
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&prefix) {
            versions.push(name);
        }
    }
    // The longest number first, then the greatest: 5.10.99 is older than 5.10.262.
    versions.sort_by_key(|name| (name.len(), name.clone()));
    let Some(name) = versions.pop() else { return Ok(None) };
    let folder = cache.join(&name);
    let mut modules: Vec<PathBuf> = fs::read_dir(folder.join("modules"))
        .with_context(|| format!("{} is damaged: delete it and run this again", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    modules.sort();
    let version = name.trim_start_matches("linux-").to_owned();
    Ok(Some(Kernel { series, version, image: folder.join("vmlinuz"), modules }))
}

fn fetch(series: Series, cache: &Path, work: &Path) -> Result<()> {
    if process::find_on_path("apt-get").is_none() {
        bail!("there is no apt-get here: run this on Debian or Ubuntu, or use `--kernel host`");
    }
    let apt = PrivateApt::new(series, work)?;
    let (package, version) = apt.newest_kernel(series)?;
    apt.run("apt-get", &["-q", "download", &format!("{package}={version}")])?;
    let deb = only_file_ending(work, ".deb")?;
    let root = work.join("root");
    process::run(Command::new("dpkg").arg("-x").arg(&deb).arg(&root))?;

    let complete = work.join("complete");
    let modules = complete.join("modules");
    fs::create_dir_all(&modules)?;
    fs::copy(only_file_starting(&root.join("boot"), "vmlinuz-")?, complete.join("vmlinuz"))?;
    // A suite with a merged /usr has the modules there.
    let library = if root.join("usr/lib/modules").exists() {
        root.join("usr/lib/modules")
    } else {
        root.join("lib/modules")
    };
    for (position, name) in MODULES.iter().enumerate() {
        // One that is not there is built in.
        let Some(module) = find_module(&library, name)? else { continue };
        let content = if module.extension().is_some_and(|extension| extension == "xz") {
            unpack(&module)?
        } else {
            fs::read(&module)?
        };
        fs::write(modules.join(format!("{position:02}-{name}.ko")), content)?;
    }
    let folder = cache.join(format!("linux-{version}"));
    fs::rename(&complete, &folder).with_context(|| format!("cannot move the kernel to {}", folder.display()))
}

fn unpack(module: &Path) -> Result<Vec<u8>> {
    let output = Command::new("xz").arg("-dc").arg(module).output().context("cannot start xz")?;
    if !output.status.success() {
        bail!("cannot unpack {}: {}", module.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// apt with lists and sources of its own, below one folder.
struct PrivateApt<'a> {
    work: &'a Path,
    options: Vec<String>,
}

impl<'a> PrivateApt<'a> {
    fn new(series: Series, work: &'a Path) -> Result<Self> {
        let lists = work.join("lists");
        fs::create_dir_all(lists.join("partial"))?;
        fs::create_dir_all(work.join("archives/partial"))?;
        let signed =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let (main, security) = mirrors();
        let suite = series.suite;
        let sources = work.join("sources.list");
        let text = format!("deb {signed}{main} {suite} main\ndeb {signed}{security} {suite}-security main\n");
        fs::write(&sources, text).with_context(|| format!("cannot write {}", sources.display()))?;
        let settings = [
            ("Dir::Etc::sourcelist", sources.display().to_string()),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            ("Dir::Etc::preferences", "-".to_owned()),
            ("Dir::Etc::preferencesparts", "-".to_owned()),
            ("Dir::State::lists", lists.display().to_string()),
            ("Dir::Cache", work.display().to_string()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
            // The lists of an old suite are not signed anew any more.
            ("Acquire::Check-Valid-Until", "false".to_owned()),
            // The folder may not be readable for the user that apt would download as.
            ("APT::Sandbox::User", "root".to_owned()),
            // Hooks of the system belong to the system's own lists.
            ("APT::Update::Post-Invoke-Success", String::new()),
        ];
        let options =
            settings.iter().flat_map(|(key, value)| ["-o".to_owned(), format!("{key}={value}")]).collect();
        Ok(Self { work, options })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).args(arguments).current_dir(self.work);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        process::read(&mut self.command(program, arguments)).map(drop)
    }

    /// Name and version of the kernel's package, from the package that always depends on the newest.
    fn newest_kernel(&self, series: Series) -> Result<(String, String)> {
        // One of the two sources may be gone for an old suite: what counts is whether the other has a kernel.
        let updated = self.run("apt-get", &["-q", "update"]);
        let found = process::read(&mut self.command("apt-cache", &["show", "linux-image-cloud-amd64"]))
            .ok()
            .and_then(|text| newest_in(&text, series.name));
        match (found, updated) {
            (Some(kernel), _) => Ok(kernel),
            (None, Err(error)) => Err(error.context("cannot fetch the package lists: is there a network?")),
            (None, Ok(())) => bail!("the suite has no cloud kernel of this series"),
        }
    }
}

/// Reads the first `Depends: linux-image-… (= version)` of a version of this series; apt shows the newest first.
fn newest_in(text: &str, series: &str) -> Option<(String, String)> {
    let depends = text.lines().filter_map(|line| line.strip_prefix("Depends: "));
    depends.filter_map(|line| line.split_once(" (= ")).find_map(|(package, rest)| {
        let version = rest.split(')').next()?;
        version.starts_with(&format!("{series}.")).then(|| (package.to_owned(), version.to_owned()))
    })
}

/// The mirrors that the system uses, since others may not be reachable; Debian's own where it names none.
fn mirrors() -> (String, String) {
    let mut command = Command::new("apt-get");
    let listed = process::read(command.args(["indextargets", "--format", "$(REPO_URI)"])).unwrap_or_default();
    let of = |ending: &str, default: &str| {
        let known = listed.lines().map(|line| line.trim_end_matches('/')).find(|line| line.ends_with(ending));
        known.unwrap_or(default).to_owned()
    };
    (
        of("/debian", "http://deb.debian.org/debian"),
        of("/debian-security", "http://deb.debian.org/debian-security"),
    )
}

fn find_module(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if let Some(file) = path.file_name().and_then(|file| file.to_str())
            && (file == format!("{name}.ko") || file == format!("{name}.ko.xz"))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn only_file_ending(folder: &Path, ending: &str) -> Result<PathBuf> {
    only_file(folder, |name| name.ends_with(ending))
}

fn only_file_starting(folder: &Path, beginning: &str) -> Result<PathBuf> {
    only_file(folder, |name| name.starts_with(beginning))
}

fn only_file(folder: &Path, is_it: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_it))
        .with_context(|| format!("the package has not the expected file in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::newest_in;

    #[test]
    fn the_kernel_of_the_series_is_taken_and_no_other() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 6.1.176-1\nDepends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)\n\n\
                    Version: 5.10.262-1\nDepends: linux-image-5.10.0-46-cloud-amd64 (= 5.10.262-1)\n";
        let found = newest_in(text, "5.10").unwrap();
        assert_eq!(found, ("linux-image-5.10.0-46-cloud-amd64".to_owned(), "5.10.262-1".to_owned()));
        assert_eq!(newest_in(text, "5.1"), None);
    }
}
