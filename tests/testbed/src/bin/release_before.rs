//! Builds the release before, so that the tests that run it need not do so while others are timed.

fn main() {
    pointsman_testbed::release_before::program();
}
