use super::*;

const LIMITS: Limits = Limits {
    depth: 16,
    nodes: 20_000,
    copies: 20_000,
    duplicates: false,
};

fn text(node: &Node) -> &str {
    match &node.value {
        Value::Scalar(scalar) => &scalar.text,
        other => panic!("{other:?}"),
    }
}

fn entries(node: &Node) -> &[MapEntry] {
    match &node.value {
        Value::Map(entries) => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars_keep_their_text_and_position() {
    let written = [
        "0644",
        "01",
        "yes",
        "on",
        "1_000",
        "0o17",
        "0x1F",
        "12:30:45",
        "2001-01-01",
        ".inf",
        "5s",
        "99999999999999999999999",
    ];
    for scalar in written {
        let tree = parse(&format!("é: &a {scalar}\nb: *a\n"), LIMITS).unwrap();
        for (entry, places) in entries(&tree)
            .iter()
            .zip([[(1, 1), (1, 7)], [(2, 1), (2, 4)]])
        {
            assert_eq!(text(&entry.value), scalar);
            let found = [entry.at.place, entry.value.span.place].map(|p| (p.line, p.column));
            assert_eq!(found, places, "{scalar}");
        }
    }
    let scalar = |text: &str| {
        Value::Scalar(Scalar {
            text: text.into(),
            style: Style::Quoted,
        })
    };
    for (source, value) in [
        ("\"01\"", scalar("01")),
        ("'on'", scalar("on")),
        ("''", scalar("")),
        ("~", Value::Null),
        ("", Value::Null),
        ("# nothing\n", Value::Null),
        ("[]", Value::List(vec![])),
    ] {
        assert_eq!(parse(source, LIMITS).unwrap().value, value, "{source}");
    }
}

#[test]
fn spans_cover_the_written_text() {
    let source = "a: \"é\"\nb: |  # why\n\n  one\n  two\n\nc: !!binary QQ==\nd: !mine x\n";
    let tree = parse(source, LIMITS).unwrap();
    let written: Vec<&str> = entries(&tree)
        .iter()
        .map(|e| &source[e.value.span.start..e.value.span.end])
        .collect();
    assert_eq!(written, ["\"é\"", "one\n  two", "QQ==", "x"]);
    let tags: Vec<_> = entries(&tree)
        .iter()
        .map(|e| e.value.tag.as_deref())
        .collect();
    assert_eq!(tags, [None, None, Some("binary"), Some("!mine")]);
    assert_eq!(text(&entries(&tree)[1].value), "\none\ntwo\n");
}

#[test]
fn own_keys_override_merged_ones() {
    let source =
        "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {x: 5, <<: [*a, *b]}\nd: {<<: *b, <<: no}\n";
    let tree = parse(source, LIMITS).unwrap();
    let keys = |n: usize| {
        let entries = entries(&entries(&tree)[n].value);
        let shown = |e: &MapEntry| {
            format!(
                "{}={}{}",
                e.key,
                text(&e.value),
                if e.merged { "<" } else { "" }
            )
        };
        entries.iter().map(shown).collect::<Vec<_>>()
    };
    assert_eq!(keys(2), ["x=5", "y=2<", "z=4<"]);
    assert_eq!(keys(3), ["<<=no", "y=3<", "z=4<"]);
}

#[test]
fn syntax_errors_have_a_position() {
    let bomb = (1..12).fold("a0: &a0 lol\n".to_owned(), |text, i| {
        let ten = vec![format!("*a{}", i - 1); 10].join(", ");
        format!("{text}a{i}: &a{i} [{ten}]\n")
    });
    let merges = (1..40).fold("a0: &a0 {x0: 1}\n".to_owned(), |text, i| {
        let last = i - 1;
        format!("{text}a{i}: &a{i} {{<<: [*a{last}, *a{last}], k: [*a{last}, *a{last}]}}\n")
    });
    let long = format!("a: &a {}\nb: [*a, *a]\n", "x".repeat(9000));
    let deep = "[".repeat(5000);
    let nested = (0..100).fold(String::new(), |text, i| {
        format!("{text}{}a:\n", " ".repeat(i))
    });
    let stairs = (1..40).fold("a0: &a0 []\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [*a{}]\n", i - 1)
    });
    for (source, line, column, why) in [
        ("a: b: c\n", 1, 5, "mapping values are not allowed"),
        ("a: 1\na: 2\n", 2, 1, "duplicate mapping key `a`"),
        ("a: [1\n", 1, 4, "unclosed bracket"),
        ("a: *nope\n", 1, 4, "unknown anchor"),
        ("a: 1\n---\nb: 2\n", 2, 1, "second document"),
        ("a: \u{1}\n", 1, 4, "unexpected character"),
        ("? [a]\n: 3\n", 1, 3, "found a list as a key"),
        ("a: &a [*a]\n", 1, 8, "within its own anchor"),
        ("a:\n\tb: 1\n", 2, 1, "use spaces"),
        (&bomb, 5, 0, "aliases"),
        (&merges, 9, 0, "16 nested levels"),
        (&long, 2, 9, "aliases"),
        (&stairs, 16, 0, "16 nested levels"),
        (&deep, 1, 17, "recursion limit"),
        (&nested, 17, 0, "recursion limit"),
    ] {
        let error = parse(source, LIMITS).unwrap_err();
        let (span, text) = (error.at, error.to_string());
        let place = span.place;
        assert_eq!(
            (place.line, if column == 0 { 0 } else { place.column }),
            (line, column),
            "{text}"
        );
        assert!(text.contains(why) && !text.contains('\n'), "{text}");
    }
}
