//! Profiles: the built-in ones, and those of a person's own file of the same shape.

mod read;
mod rules;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use crate::plan::Profile;

pub use read::{Problem, Problems, parse};
pub use rules::min_crf;

/// Largest file of profiles, bytes.
pub const MAX_BYTES: usize = 64 << 10;

const BUILT_IN: &str = include_str!("profiles.toml");

static PROFILES: LazyLock<Profiles> = LazyLock::new(|| {
    let read = parse(BUILT_IN, &Profiles(Vec::new()));
    // A test reads the same text.
    Profiles(read.unwrap_or_default())
});

/// A list of profiles, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiles(Vec<Profile>);

impl Profiles {
    /// Those that come with the program.
    pub fn built_in() -> &'static Self {
        &PROFILES
    }

    /// The built-in ones and those of `file`, which come before built-in ones of the same name.
    pub fn with(file: &str) -> Result<Self, Problems> {
        let own = parse(file, Self::built_in())?;
        let kept = Self::built_in().0.iter().filter(|known| !own.iter().any(|profile| profile.name == known.name));
        Ok(Self(kept.cloned().chain(own.iter().cloned()).collect()))
    }

    pub fn find(&self, name: &str) -> Option<&Profile> {
        self.0.iter().find(|profile| profile.name == name)
    }

    /// A profile by its name, or a sentence that names those there are.
    pub fn get(&self, name: &str) -> Result<Profile, String> {
        let known = || self.names().collect::<Vec<_>>().join(", ");
        self.find(name).cloned().ok_or_else(|| format!("there is no profile `{name}`; there are {}", known()))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|profile| profile.name.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }
}

/// A built-in profile by its name.
pub fn by_name(name: &str) -> Result<Profile, String> {
    Profiles::built_in().get(name)
}

/// H.264 with x264's `veryfast`, four rungs (the reference ladder): what every other profile starts from.
pub fn h264() -> Profile {
    Profiles::built_in().find("h264").cloned().unwrap_or_else(rules::blank)
}
