//! The paper's theory as experiments on grey images (docs/paper.md 6), over `crate::theory`.

mod conditions;
pub mod fig2;
pub mod fig3a;
pub mod fig3b;
pub mod fig4;
mod grey;
pub mod theorem;
