//! The links that a unit's `[Install]` section asks for (systemd.unit(5)). Pure.

/// The links that enable a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Install {
    /// Names below the folder of links: `multi-user.target.wants/a.service`, `alias.service`.
    pub(super) links: Vec<String>,
    /// Units that are enabled with it.
    pub(super) also: Vec<String>,
    /// What was not understood.
    pub(super) unknown: Vec<String>,
    /// It is a template, and its section does not say which instance is meant (`DefaultInstance=`).
    pub(super) lacks_instance: bool,
}

/// The parts of a unit's name.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    whole: &'a str,
    /// Before the `@`, or the suffix.
    prefix: &'a str,
    /// Of `a@b.service`: `b`; of the template `a@.service`: empty.
    instance: Option<&'a str>,
    suffix: &'a str,
}

impl<'a> Name<'a> {
    fn new(whole: &'a str) -> Self {
        let (stem, suffix) = whole.rsplit_once('.').unwrap_or((whole, ""));
        let (prefix, instance) = match stem.split_once('@') {
            Some((prefix, instance)) => (prefix, Some(instance)),
            None => (stem, None),
        };
        Self {
            whole,
            prefix,
            instance,
            suffix,
        }
    }
}

/// The template of an instance: of `a@b.service` it is `a@.service`.
pub(super) fn template(unit: &str) -> Option<String> {
    let name = Name::new(unit);
    let instance = name.instance.filter(|instance| !instance.is_empty());
    instance.map(|_| format!("{}@.{}", name.prefix, name.suffix))
}

/// Reads the `[Install]` sections of a unit's texts: its own, then those of its drop-ins.
pub(super) fn read(unit: &str, texts: &[String]) -> Install {
    let mut given: Vec<(&str, String)> = Vec::new();
    let joined: Vec<String> = texts.iter().map(|text| text.replace("\\\n", " ")).collect();
    for text in &joined {
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
            } else if inside
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                let (key, value) = (key.trim(), value.trim());
                // An empty value removes the values before it.
                if value.is_empty() {
                    given.retain(|(known, _)| *known != key);
                }
                given.extend(value.split_whitespace().map(|word| (key, word.to_owned())));
            }
        }
    }
    let mut install = Install::default();
    let has_any = !given.is_empty();
    let default = given
        .iter()
        .rev()
        .find(|(key, _)| *key == "DefaultInstance");
    let name = Name::new(unit);
    // A template cannot be started, only its default instance.
    let linked = match (name.instance, default) {
        (Some(""), Some((_, instance))) => {
            Some(format!("{}@{instance}.{}", name.prefix, name.suffix))
        }
        (Some(""), None) => None,
        _ => Some(unit.to_owned()),
    };
    install.lacks_instance = has_any && linked.is_none();
    for (key, word) in &given {
        let Some(word) = expand(word, Name::new(linked.as_deref().unwrap_or(unit))) else {
            install.unknown.push(format!("{key}={word}"));
            continue;
        };
        let folder = match *key {
            "WantedBy" => "wants",
            "RequiredBy" => "requires",
            "UpheldBy" => "upholds",
            "Alias" => {
                if word != unit && Name::new(&word).suffix == name.suffix {
                    install.links.push(word);
                }
                continue;
            }
            "Also" => {
                install.also.push(word);
                continue;
            }
            _ => continue,
        };
        if let Some(linked) = &linked {
            install.links.push(format!("{word}.{folder}/{linked}"));
        }
    }
    install
}

/// Replaces the specifiers of a word; none if it has one that only the running system knows.
fn expand(word: &str, name: Name<'_>) -> Option<String> {
    let mut text = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match rest.next()? {
            '%' => text.push('%'),
            'n' => text.push_str(name.whole),
            'N' => text.push_str(name.whole.strip_suffix(&format!(".{}", name.suffix))?),
            'p' => text.push_str(name.prefix),
            'i' => text.push_str(name.instance.unwrap_or_default()),
            'j' => text.push_str(name.prefix.rsplit('-').next()?),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(unit: &str, text: &str) -> Vec<String> {
        read(unit, &[text.to_owned()]).links
    }

    #[test]
    fn install_links_match_the_manual() {
        let text = "[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy = a.target b.target\n\
                    RequiredBy=c.target\nAlias=other.service x.socket self.service\nAlso=d.socket\n[X-Y]\nWantedBy=e.target\n";
        let install = read("self.service", &[text.to_owned()]);
        assert_eq!(
            install.links,
            [
                "a.target.wants/self.service",
                "b.target.wants/self.service",
                "c.target.requires/self.service",
                "other.service",
            ]
        );
        assert_eq!(install.also, ["d.socket"]);
        assert_eq!(links("a.service", "[Service]\nExecStart=/b\n"), [""; 0]);
        // A later empty value removes the values before it.
        let reset = [
            text.to_owned(),
            "[Install]\nWantedBy=\nWantedBy=z.target\n".to_owned(),
        ];
        assert_eq!(
            read("self.service", &reset).links,
            [
                "c.target.requires/self.service",
                "other.service",
                "z.target.wants/self.service"
            ]
        );
    }

    #[test]
    fn templates_are_enabled_as_instances() {
        let text = "[Install]\nWantedBy=%i.target \\\n  x@%i.target\nAlias=%p-%N.service\n";
        assert_eq!(
            links("a-b@c.service", text),
            [
                "c.target.wants/a-b@c.service",
                "x@c.target.wants/a-b@c.service",
                "a-b-a-b@c.service",
            ]
        );
        assert_eq!(
            links("a@.service", "[Install]\nWantedBy=x.target\n"),
            [""; 0]
        );
        assert_eq!(
            links(
                "a@.service",
                "[Install]\nWantedBy=x.target\nDefaultInstance=one\n"
            ),
            ["x.target.wants/a@one.service"]
        );
        assert_eq!(template("a@b.service").as_deref(), Some("a@.service"));
        assert_eq!(
            (template("a@.service"), template("a.service")),
            (None, None)
        );
        let unknown = read("a.service", &["[Install]\nWantedBy=%H.target\n".to_owned()]);
        assert_eq!(
            (unknown.links.len(), unknown.unknown),
            (0, vec!["WantedBy=%H.target".to_owned()])
        );
    }
}
