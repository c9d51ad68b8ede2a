//! The paper's theory as experiments (spec section 6): over `crate::theory`, on grey images.

mod conditions;
pub mod fig2;
pub mod fig3a;
pub mod fig3b;
pub mod fig4;
mod grey;
pub mod theorem;
