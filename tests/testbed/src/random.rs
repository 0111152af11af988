//! What happens at random in a test.

/// Numbers drawn from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// The variable that sets the seed, to see a failed test fail again.
const SEED: &str = "POINTSMAN_TEST_SEED";

impl Random {
    /// Numbers from a seed that differs in each run. The seed is printed; the variable `POINTSMAN_TEST_SEED` sets it.
    pub fn new(test: &str) -> Self {
        let given = std::env::var(SEED).ok();
        let seed = match &given {
            Some(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{SEED}: found {text:?}, expected a number")),
            None => {
                let mut bytes = [0; 8];
                getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
                u64::from_le_bytes(bytes)
            }
        };
        eprintln!("{test} is random; to see this run again: {SEED}={seed}");
        Self(seed)
    }

    /// Numbers from this seed: the same in each run.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// A number of any size.
    pub fn seed(&mut self) -> u64 {
        self.below(1 << 31)
    }

    /// The numbers below this one, in some order.
    pub fn shuffled(&mut self, limit: u64) -> Vec<u64> {
        let mut left: Vec<u64> = (0..limit).collect();
        let mut drawn = Vec::new();
        while !left.is_empty() {
            let at = self.below(left.len() as u64) as usize;
            drawn.push(left.swap_remove(at));
        }
        drawn
    }

    /// One of the numbers below this one.
    pub fn below(&mut self, limit: u64) -> u64 {
        // Knuth's MMIX constants; the high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}
