//! Settings that change with the rule.

use super::Config;
use crate::rules::RuleName;

impl Config {
    /// Returns the configuration with another rule and that rule's optimiser.
    pub fn with_rule(self, rule: RuleName) -> Self {
        let optimizer = if rule == self.rule { self.optimizer } else { rule.optimizer(self.optimizer) };
        Self { rule, optimizer, ..self }
    }
}
