//! The language in which the sections describe their keys, as data: validation, suggestions, the JSON Schema and the
//! variables of services follow from it. The keys themselves are in `sections`.

mod fault;
mod form;
mod json;
mod text_forms;

pub(crate) use fault::Fault;
pub(crate) use form::Form;
pub(crate) use json::json_schema;
pub(crate) use text_forms::{boolean, drop_in_path, mode, normal};

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
    Mapping(&'static Mapping),
}

/// The keys of a mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// In the order in which they are written out.
    pub(crate) keys: &'static [Key],
    /// The prefix of the variables, where the keys become variables of a service.
    pub(crate) prefix: Option<&'static str>,
    /// Any other key is accepted and becomes a variable as well.
    pub(crate) open: bool,
    /// Keys that people expect here, and what replaces them.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

/// A key. Its name is spelled with underscores; with hyphens it is the same key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One line for people.
    pub(crate) about: &'static str,
    /// Why it is deprecated, and what replaces it.
    pub(crate) deprecated: Option<&'static str>,
    /// The variable it becomes, where that is not prefix and name.
    pub(crate) variable: Option<&'static str>,
    /// A mapping without this key is skipped.
    pub(crate) required: bool,
    /// An empty text is a value. For other keys it counts as no value.
    pub(crate) empty: bool,
}

impl Key {
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
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

    pub(crate) const fn text(name: &'static str, form: Form, about: &'static str) -> Self {
        Self::new(name, Kind::Text(form), about)
    }

    pub(crate) const fn bool(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Bool, about)
    }

    pub(crate) const fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    pub(crate) const fn empty(self) -> Self {
        Self {
            empty: true,
            ..self
        }
    }

    pub(crate) const fn deprecated(self, why: &'static str) -> Self {
        Self {
            deprecated: Some(why),
            ..self
        }
    }

    pub(crate) const fn variable(self, name: &'static str) -> Self {
        Self {
            variable: Some(name),
            ..self
        }
    }
}

impl Mapping {
    pub(crate) const fn of(keys: &'static [Key]) -> Self {
        Self {
            keys,
            prefix: None,
            open: false,
            elsewhere: &[],
        }
    }

    /// Keys that become variables of a service.
    pub(crate) const fn variables(prefix: &'static str, keys: &'static [Key]) -> Self {
        Self {
            prefix: Some(prefix),
            ..Self::of(keys)
        }
    }

    /// Accepts any other key as a variable, too.
    pub(crate) const fn open(self) -> Self {
        Self { open: true, ..self }
    }

    /// Finds the key of this name, spelled with underscores.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Names the variable that a key becomes; none where keys become no variables.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        let given = self.key(name).and_then(|key| key.variable);
        given
            .map(str::to_owned)
            .or_else(|| Some(format!("{}{}", self.prefix?, name.to_ascii_uppercase())))
    }
}

/// Returns a key as the tables spell it, with underscores.
pub(crate) fn canonical(key: &str) -> String {
    key.replace('-', "_")
}

impl Mapping {
    /// Finds the place of a key: the path of the mapping that has it, where no other has one of that name. The empty path
    /// is the top level, which goes before other places.
    pub(crate) fn only_path(&'static self, name: &str) -> Option<String> {
        let mut found = Vec::new();
        self.search("", name, &mut found);
        match found.as_slice() {
            [path] => Some(path.clone()),
            paths => paths.iter().find(|path| path.is_empty()).cloned(),
        }
    }

    fn search(&'static self, path: &str, name: &str, found: &mut Vec<String>) {
        for key in self.keys {
            let mut kind = key.kind;
            let mut here = match path {
                "" => key.name.to_owned(),
                path => format!("{path}.{}", key.name),
            };
            while let Kind::List(item) = kind {
                kind = *item;
                here += "[]";
            }
            if key.name == name {
                found.push(path.to_owned());
            }
            if let Kind::Mapping(inner) = kind {
                inner.search(&here, name, found);
            }
        }
    }
}
