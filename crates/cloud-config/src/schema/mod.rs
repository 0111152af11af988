//! What a cloud-config may hold, as data: validation, suggestions, the JSON Schema and the variables that
//! services are given all follow from these tables.

mod form;
mod json;
mod services;
mod tables;
mod texts;

pub(crate) use form::Form;
pub use json::json_schema;
pub(crate) use tables::{ROOT, only_place};
pub(crate) use texts::{boolean, drop_in_path, mode, normal};

/// What a key takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text of a form; a number or boolean is its own text.
    Text(Form),
    /// Yes or no in any of YAML 1.1's words.
    Bool,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// A list whose items are all of one kind.
    List(&'static Self),
    /// A mapping.
    Section(&'static Section),
}

/// The keys of a mapping.
#[derive(Debug)]
pub(crate) struct Section {
    /// In the order in which they are written out.
    pub(crate) keys: &'static [Key],
    /// What the names of the variables begin with, where the keys become variables of a service.
    pub(crate) prefix: Option<&'static str>,
    /// Whether any other key is a variable as well.
    pub(crate) open: bool,
    /// Keys that people look for here, and where they are or what replaces them.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// A key. Its name is spelled with underscores; with hyphens it is the same key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One line for people.
    pub(crate) about: &'static str,
    /// Why it should not be used any more.
    pub(crate) deprecated: Option<&'static str>,
    /// The variable it becomes, where that is not prefix and name.
    pub(crate) variable: Option<&'static str>,
    /// Without it the mapping means nothing.
    pub(crate) required: bool,
    /// An empty text is one: elsewhere it is as if the key were not there.
    pub(crate) empty: bool,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            about,
            deprecated: None,
            variable: None,
            required: false,
            empty: false,
        }
    }

    const fn text(name: &'static str, form: Form, about: &'static str) -> Self {
        Self::new(name, Kind::Text(form), about)
    }

    const fn bool(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Bool, about)
    }

    const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    const fn empty(self) -> Self {
        Self {
            empty: true,
            ..self
        }
    }

    const fn deprecated(self, why: &'static str) -> Self {
        Self {
            deprecated: Some(why),
            ..self
        }
    }

    const fn variable(self, name: &'static str) -> Self {
        Self {
            variable: Some(name),
            ..self
        }
    }
}

impl Section {
    const fn of(keys: &'static [Key]) -> Self {
        Self {
            keys,
            prefix: None,
            open: false,
            elsewhere: &[],
        }
    }

    const fn service(prefix: &'static str, keys: &'static [Key]) -> Self {
        Self {
            prefix: Some(prefix),
            ..Self::of(keys)
        }
    }

    /// The key of this name, spelled with underscores.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The variable that a key becomes.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let given = self.key(name).and_then(|key| key.variable);
        given
            .map(str::to_owned)
            .or_else(|| Some(format!("{}{}", self.prefix?, name.to_ascii_uppercase())))
    }
}

/// A key as the tables spell it.
pub(crate) fn canonical(key: &str) -> String {
    key.replace('-', "_")
}
