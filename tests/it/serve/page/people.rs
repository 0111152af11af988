//! The page as people use it: by keyboard, with a screen reader, on a phone.

use super::*;

const NARROW: (u32, u32) = (360, 740);

/// Words are whole, whatever the width; on a phone each row is a card whose command is in sight.
#[tokio::test]
async fn no_word_is_broken_and_no_command_is_out_of_sight() {
    let place = Place::new("page-words", 1).await;
    populate(&place, ["next-2", "node-3"]).await;
    in_waves(&place).await;
    let broken = r#"
        const broken = [];
        const range = document.createRange();
        const walk = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
        while (walk.nextNode()) {
            const node = walk.currentNode;
            if (node.parentElement.closest('code, svg, select, [hidden]')) continue;
            for (const { 0: word, index } of node.data.matchAll(/\S+/g)) {
                // An id of 32 digits may be.
                if (word.length > 24) continue;
                range.setStart(node, index);
                range.setEnd(node, index + word.length);
                if (range.getClientRects().length > 1) broken.push(word);
            }
        }
        return broken;"#;
    let hidden = "return [...document.querySelectorAll('code.command')].filter(it => {
            const box = it.getBoundingClientRect();
            return box.width && (box.right > innerWidth || box.left < 0);
        }).length";
    for (width, mobile) in [(1280, false), (1000, false), (500, true), (360, true)] {
        let browser = Browser::open(width, 900).await;
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile});
        browser
            .devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        browser.go(&url(&place.server)).await;
        browser.shows("Live: ").await;
        assert_eq!(browser.run(broken).await, json!([]), "{width}");
        if mobile {
            assert_eq!(browser.run(hidden).await, 0, "{width}");
        }
    }
}

/// The keys of WebDriver's actions.
const TAB: &str = "\u{e004}";

#[tokio::test]
async fn the_page_is_used_by_keyboard_and_read_by_screen_readers() {
    let place = Place::new("page-keys", 1).await;
    populate(&place, HOSTILE).await;
    let browser = Browser::open(WIDE.0, WIDE.1).await;
    browser.go(&url(&place.server)).await;
    browser.shows("Live: ").await;
    let focused =
        "const at = document.activeElement; return at.dataset.key || at.id || at.textContent";
    browser.press(TAB).await;
    assert_eq!(browser.run(focused).await, "To the status");
    let mut reached = Vec::new();
    for _ in 0..40 {
        browser.press(TAB).await;
        let at = browser
            .run(focused)
            .await
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if at == "q" {
            break;
        }
        reached.push(at);
    }
    assert!(
        reached.contains(&"Out of service in (default)".to_owned()),
        "{reached:?}"
    );
    // What is typed filters, and a change meanwhile takes neither the text nor the focus away.
    browser.press("sick").await;
    browser
        .shows("1 shown of 1 that match; 4 nodes are known.")
        .await;
    place.semaphore.set_max(7, false).await.unwrap();
    browser.shows("1 of 7 places taken").await;
    assert_eq!(browser.run(focused).await, "q");
    assert_eq!(
        browser
            .run("return document.getElementById('q').value")
            .await,
        "sick"
    );
    assert!(
        browser
            .run("return location.search")
            .await
            .as_str()
            .unwrap()
            .contains("q=sick")
    );
    // The focus stays in a table that is shown again.
    browser
        .run("document.querySelector('[data-key=\"Out of service in (default)\"]').focus()")
        .await;
    place.semaphore.set_max(8, false).await.unwrap();
    browser.shows("1 of 8 places taken").await;
    assert_eq!(browser.run(focused).await, "Out of service in (default)");

    let tree = browser
        .devtools("Accessibility.getFullAXTree", json!({}))
        .await;
    let nodes = tree["nodes"].as_array().unwrap();
    let of_role = |role: &str| -> Vec<String> {
        let found = nodes
            .iter()
            .filter(|node| node["role"]["value"] == role && node["ignored"] != true);
        found
            .map(|node| {
                node["name"]["value"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    };
    for (role, least) in [
        ("heading", 4),
        ("region", 4),
        ("button", 1),
        ("searchbox", 1),
        ("combobox", 2),
        ("main", 0),
    ] {
        let names = of_role(role);
        assert!(names.len() >= least, "{role}: {names:?}");
        assert!(
            role == "main" || names.iter().all(|name| !name.is_empty()),
            "{role}: {names:?}"
        );
    }
    assert_eq!(of_role("main").len(), 1);
    assert_eq!(of_role("alert").len(), 3);
    let unnamed = "return [...document.querySelectorAll('input, select')].filter(it => !it.labels.length).length";
    assert_eq!(browser.run(unnamed).await, 0);
}

/// The contrast of texts with what is behind them, at least; WCAG 2.2, level AA, wants 4.5.
const CONTRAST: &str = r#"
    const light = colour => {
        const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map(n => {
            const c = n / 255;
            return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = it => {
        for (; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if (!/, 0\)$/.test(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    let least = 21;
    for (const it of document.querySelectorAll('main *, header *')) {
        if (![...it.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const [a, b] = [light(getComputedStyle(it).color), light(behind(it))].sort((a, b) => b - a);
        least = Math.min(least, (a + 0.05) / (b + 0.05));
    }
    return [least, getComputedStyle(document.body).backgroundColor];
"#;

#[tokio::test]
async fn the_page_fits_a_phone_and_is_legible_in_the_light_and_in_the_dark() {
    let place = Place::new("page-phone", 1).await;
    populate(&place, HOSTILE).await;
    let browser = Browser::open(NARROW.0, NARROW.1).await;
    let metrics =
        json!({"width": NARROW.0, "height": NARROW.1, "deviceScaleFactor": 1, "mobile": true});
    browser
        .devtools("Emulation.setDeviceMetricsOverride", metrics)
        .await;
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", media).await;
        browser.go(&url(&place.server)).await;
        browser.shows("Live: ").await;
        let width = browser
            .run("return [innerWidth, document.documentElement.scrollWidth]")
            .await;
        assert_eq!(width, json!([360, 360]), "{scheme}");
        let found = browser.run(CONTRAST).await;
        assert!(found[0].as_f64().unwrap() >= 4.5, "{scheme}: {found}");
        grounds.push(found[1].clone());
    }
    assert_ne!(grounds[0], grounds[1]);
}
