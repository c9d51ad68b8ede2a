//! A stack that overflows is a fault, not silent corruption.

use clapp_tests::qemu::Board;
use std::path::Path;

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_a_stack_overflow_is_a_fault_and_leaves_the_statics_alone() {
    for board in Board::ALL {
        let output = board.run("overflow", &[]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{board:?}: {errors}");
        assert!(errors.contains("0 of 51200 words of the statics are spoilt"), "{board:?}: {errors}");
        assert!(errors.contains("stack overflow: "), "{board:?}: {errors}");
    }
}

#[test]
#[cfg_attr(not(feature = "qemu"), ignore = "needs QEMU: cargo test -p clapp-tests --features qemu")]
fn qemu_another_fault_is_not_taken_for_an_overflow() {
    for board in Board::ALL {
        let output = board.run("overflow", &[Path::new("undefined")]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{board:?}: {errors}");
        assert!(errors.contains("\nfault: ") && !errors.contains("stack overflow"), "{board:?}: {errors}");
    }
}
