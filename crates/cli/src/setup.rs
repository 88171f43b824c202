//! Where the things of a platform are, found and checked before anything starts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use platform::{Config, TemplateSource, stack::Stack};
use tempfile::TempDir;

use crate::{args::PlatformArgs, end::usage};

/// Beside the project and not in the home folder: films are large, and `rm -r .fanreel` shall be all it takes.
pub const DEFAULT_DATA_DIR: &str = ".fanreel/data";
/// fanreel's own template, as it is in the repository.
const TEMPLATE: &str = include_str!("../../../template.yaml");
/// Where the template's layer lies, from the template's folder.
const LAYER: &str = "layers/ffmpeg/build/opt";
const STACK_NAME: &str = "fanreel";
/// The bucket's name on a platform of one's own, where no name is taken.
pub const BUCKET: &str = "videos";

/// A platform ready to start.
#[derive(Debug)]
pub struct Setup {
    pub config: Config,
    /// HTTP APIs of the template, each of which needs a socket.
    pub http_apis: usize,
    /// The folder that relative paths of the built-in template are against, where it was made for the purpose.
    _base: Option<TempDir>,
}

/// Parameters of the built-in template that a command sets unless the person did.
pub type Defaults<'a> = &'a [(&'a str, &'a str)];

/// Finds everything, or says what is missing and what to do.
pub fn prepare(args: &PlatformArgs, data_dir: &Path, defaults: Defaults) -> anyhow::Result<Setup> {
    let (template, base) = template(args)?;
    let mut config = Config::new(absolute(data_dir)?, template);
    config.parameters = parameters(args, defaults)?;
    config.binary_dirs = binary_dirs(args)?;
    let stack = platform::template::resolve(&config.template, &config.parameters, "http://127.0.0.1:0")?;
    let missing = missing(&stack, &config.binary_dirs);
    if let Some(first) = missing.first() {
        bail!(
            "{first}{}",
            if missing.len() > 1 {
                format!(" ({} more things are missing; `fanreel doctor` lists them)", missing.len() - 1)
            } else {
                String::new()
            }
        );
    }
    Ok(Setup { config, http_apis: stack.http_apis.len(), _base: base })
}

/// The built-in template, for what it says of names alone.
pub fn own_template() -> TemplateSource {
    TemplateSource::Text { text: TEMPLATE.into(), base_dir: PathBuf::new() }
}

fn template(args: &PlatformArgs) -> anyhow::Result<(TemplateSource, Option<TempDir>)> {
    if let Some(file) = &args.template {
        if !file.is_file() {
            return Err(usage(format!("--template {}: there is no such file", file.display())));
        }
        return Ok((TemplateSource::File(absolute(file)?), None));
    }
    let (base_dir, made) = base_dir(args)?;
    Ok((TemplateSource::Text { text: TEMPLATE.into(), base_dir }, made))
}

/// The folder in which [`LAYER`] is the layer: one that holds it, or one made of a link to it.
fn base_dir(args: &PlatformArgs) -> anyhow::Result<(PathBuf, Option<TempDir>)> {
    let own_tools = args.ffmpeg.is_some() && args.ffprobe.is_some();
    let layer = match find_layer(args) {
        Err(_) if own_tools => None,
        found => Some(found?),
    };
    let whole =
        |layer: &Path| layer.ends_with(LAYER).then(|| layer.ancestors().nth(LAYER.split('/').count()).map(Path::to_path_buf)).flatten();
    if let Some(base) = layer.as_deref().and_then(whole) {
        return Ok((base, None));
    }
    let made = tempfile::Builder::new().prefix("fanreel-").tempdir().context("no temporary folder can be made")?;
    let place = made.path().join(LAYER);
    let link = || -> std::io::Result<()> {
        let Some(layer) = &layer else { return std::fs::create_dir_all(&place) };
        place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::os::unix::fs::symlink(layer, &place)
    };
    link().with_context(|| format!("{} cannot be made", place.display()))?;
    Ok((made.path().to_path_buf(), Some(made)))
}

/// The layer's folder: as told, or above the program, or above the current folder.
pub fn find_layer(args: &PlatformArgs) -> anyhow::Result<PathBuf> {
    let is_layer = |dir: &Path| dir.join("bin/ffmpeg").is_file() && dir.join("bin/ffprobe").is_file();
    if let Some(told) = &args.layer {
        if !is_layer(told) {
            return Err(usage(format!("--layer {}: there are no bin/ffmpeg and bin/ffprobe in it", told.display())));
        }
        return Ok(told.canonicalize()?);
    }
    let starts = [std::env::current_exe().ok(), std::env::current_dir().ok()];
    let places = || starts.iter().flatten().flat_map(|start| start.ancestors()).map(|dir| dir.join(LAYER));
    if let Some(found) = places().find(|dir| is_layer(dir)) {
        return Ok(found);
    }
    bail!(
        "the ffmpeg layer is missing: there is no {LAYER} above this program or the current folder. \
         Make it with `make layer` in the repository, or name its folder with --layer or FANREEL_LAYER"
    )
}

fn parameters(args: &PlatformArgs, defaults: Defaults) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::from([("AWS::StackName".to_owned(), STACK_NAME.to_owned())]);
    if args.template.is_none() {
        all.insert("BucketName".into(), BUCKET.into());
        all.extend(defaults.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        for (name, tool) in [("FfmpegPath", &args.ffmpeg), ("FfprobePath", &args.ffprobe)] {
            if let Some(tool) = tool {
                all.insert(name.into(), absolute(tool)?.to_string_lossy().into_owned());
            }
        }
    }
    all.extend(args.parameters.iter().cloned());
    Ok(all)
}

/// Folders that functions' programs are looked for in: those told, then that of this program.
fn binary_dirs(args: &PlatformArgs) -> anyhow::Result<Vec<PathBuf>> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in &args.binaries {
        if !dir.is_dir() {
            return Err(usage(format!("--binaries {}: there is no such folder", dir.display())));
        }
        dirs.push(absolute(dir)?);
    }
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    dirs.extend(own);
    Ok(dirs)
}

/// What the stack needs and is not there, each as a sentence.
pub fn missing(stack: &Stack, binary_dirs: &[PathBuf]) -> Vec<String> {
    let mut missing = Vec::new();
    for function in &stack.functions {
        let built = binary_dirs.iter().map(|dir| dir.join(&function.binary)).chain([function.code_dir.join("bootstrap")]);
        if !built.into_iter().any(|path| path.is_file()) {
            let dirs: Vec<String> = binary_dirs.iter().map(|dir| dir.display().to_string()).collect();
            missing.push(format!(
                "the program `{}` of function {} is not in {}; build it (`cargo build --workspace --bins`), or name its folder with --binaries",
                function.binary,
                function.logical_id,
                dirs.join(" or ")
            ));
        }
        for layer in function.layers.iter().filter(|layer| !layer.is_dir()) {
            missing.push(format!("the layer {} of function {} is no folder; build it", layer.display(), function.logical_id));
        }
    }
    missing.sort();
    missing.dedup();
    missing
}

/// The programs' folders as `doctor` shows them.
pub fn program_dirs(args: &PlatformArgs) -> anyhow::Result<Vec<PathBuf>> {
    binary_dirs(args)
}

/// The stack of the built-in template without its layer, to look at.
pub fn bare_stack(args: &PlatformArgs, base_dir: &Path) -> anyhow::Result<Stack> {
    let template = match &args.template {
        Some(file) => TemplateSource::File(absolute(file)?),
        None => TemplateSource::Text { text: TEMPLATE.into(), base_dir: base_dir.to_path_buf() },
    };
    Ok(platform::template::resolve(&template, &parameters(args, &[])?, "http://127.0.0.1:0")?)
}

pub fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}` is no path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_in(root: &Path, at: &str) -> PathBuf {
        let layer = root.join(at);
        std::fs::create_dir_all(layer.join("bin")).unwrap();
        for program in ["bin/ffmpeg", "bin/ffprobe"] {
            std::fs::write(layer.join(program), "").unwrap();
        }
        layer
    }

    #[test]
    fn a_layer_in_its_place_is_used_there_and_any_other_is_linked() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let there = PlatformArgs { layer: Some(layer_in(&root, LAYER)), ..PlatformArgs::default() };
        let (base, made) = base_dir(&there).unwrap();
        assert_eq!((base, made.is_none()), (root.clone(), true));

        let elsewhere = PlatformArgs { layer: Some(layer_in(&root, "tools")), ..PlatformArgs::default() };
        let (base, made) = base_dir(&elsewhere).unwrap();
        assert!(made.is_some() && base.join(LAYER).join("bin/ffmpeg").is_file());
    }

    #[test]
    fn a_folder_that_is_no_layer_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let args = PlatformArgs { layer: Some(dir.path().into()), ..PlatformArgs::default() };
        assert!(find_layer(&args).unwrap_err().to_string().contains("no bin/ffmpeg"));
    }

    #[test]
    fn the_built_in_template_resolves_and_what_is_not_built_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let stack = bare_stack(&PlatformArgs::default(), dir.path()).unwrap();
        assert_eq!(stack.buckets[0].name, BUCKET);
        assert!(stack.outputs.contains_key("Bucket") && stack.outputs.contains_key("Table"));
        let missing = missing(&stack, &[dir.path().to_path_buf()]);
        assert!(missing.iter().any(|text| text.contains("program `split` of function SplitFunction")), "{missing:?}");
        assert!(missing.iter().any(|text| text.contains(LAYER)), "{missing:?}");
    }

    #[test]
    fn functions_are_told_how_much_disk_they_have() {
        let stack = bare_stack(&PlatformArgs::default(), Path::new("/")).unwrap();
        for function in &stack.functions {
            let told = function.environment.get("SCRATCH_MB").map_or("512", String::as_str);
            assert_eq!(told, function.ephemeral_mb.to_string(), "{}", function.logical_id);
        }
        assert!(stack.functions.iter().any(|function| function.environment.contains_key("SCRATCH_MB")));
    }

    #[test]
    fn a_parameter_that_was_given_wins() {
        let args = PlatformArgs { parameters: vec![("Profile".into(), "h264-medium".into())], ..PlatformArgs::default() };
        let all = parameters(&args, &[("Profile", "h264")]).unwrap();
        assert_eq!((all["Profile"].as_str(), all["BucketName"].as_str()), ("h264-medium", "videos"));
        let foreign = PlatformArgs { template: Some("t.yaml".into()), ..PlatformArgs::default() };
        assert!(!parameters(&foreign, &[("Profile", "h264")]).unwrap().contains_key("Profile"));
    }
}
