//! What goes along with a change of rule.

use super::Config;
use crate::rules::RuleName;

impl Config {
    /// The configuration with another rule than its own, and the optimiser that goes with that one.
    pub fn with_rule(self, rule: RuleName) -> Self {
        let optimizer = if rule == self.rule { self.optimizer } else { rule.optimizer(self.optimizer) };
        Self { rule, optimizer, ..self }
    }
}
