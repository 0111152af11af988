//! A soak, or the way back from it, that is cut off by another boot.

use pointsman_testbed::{disk::Slot, node::Death};

use super::{
    soak::{LONG, breaks, go_back, policy, settled, soaking},
    *,
};
use crate::trials::runs_from;

#[tokio::test]
async fn node_goes_back_although_its_image_fails_its_checks_in_a_boot_after_the_failed_soak() {
    let site = Site::new("soak-cut-failed");
    policy(&site, Some(std::time::Duration::from_secs(4))).await;
    let (node, _) = soaking(&site, "node-1").await;
    breaks(&node);
    node.wait_status(|status| status.starts_with("soak-failed"))
        .await;
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status.contains("no service"))
        .await;
    go_back(&site, &node).await;
    runs_from(&node, Slot::A, 3).await;
}

#[tokio::test]
async fn node_goes_back_although_its_image_fails_its_checks_in_a_boot_during_the_soak() {
    let site = Site::new("soak-cut-fails");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    breaks(&node);
    node.reboot(Death::Kill).await;
    node.wait_status(|status| status.contains("so the image failed its soak"))
        .await;
    go_back(&site, &node).await;
    runs_from(&node, Slot::A, 3).await;
}

#[tokio::test]
async fn update_engine_waits_after_a_power_cut_in_the_way_back() {
    let site = Site::new("soak-cut-back");
    policy(&site, Some(LONG)).await;
    let (node, _) = soaking(&site, "node-1").await;
    slow_drain(&node);
    go_back(&site, &node).await;
    draining(&node).await;
    // The boot loader takes the slot that ran: the other one was not activated yet.
    node.kill().await;
    let undone = node
        .run(crate::agents::bin(), &["slots", "prioritize", "B"])
        .await;
    assert_eq!(undone.code, Some(0), "{undone:?}");
    drained(&node);
    node.go_down(Death::Kill).await;
    node.come_up().await;
    assert_eq!(node.booted(), Slot::B);
    // Before and after the agent has seen this boot.
    assert!(!settled(&node).await);
    node.start_again();
    node.wait_status(|status| status.starts_with("soaking"))
        .await;
    assert!(!settled(&node).await);
}
