//! The variables that keys become.

use yaml::Span;

use crate::{
    check::{Content, Field},
    schema::Mapping,
};

/// A variable of a service.
#[derive(Debug)]
pub(crate) struct Variable {
    /// The key it comes from.
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) span: Span,
}

/// Reads the variables that keys become: in the order of the table, then others in the order of the document.
pub(super) fn read(table: &Mapping, given: impl IntoIterator<Item = Field>) -> Vec<Variable> {
    let variable = |Field { name, item }| {
        let value = match item.content {
            Content::Text { text, .. } if !text.is_empty() => text,
            // Zero writes no variable: the service's own default may be another.
            Content::Number(number) if number != "0" && number != "-0" => number,
            Content::Flag(true) => "true".into(),
            _ => return None,
        };
        Some(Variable {
            name: table.variable(&name)?,
            key: name.into_owned(),
            value,
            span: item.span,
        })
    };
    let mut variables: Vec<Variable> = given.into_iter().filter_map(variable).collect();
    let order = |key: &str| table.keys.iter().position(|known| known.name == key);
    variables.sort_by_key(|variable| order(&variable.key).unwrap_or(usize::MAX));
    variables
}
