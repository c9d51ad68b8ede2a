//! A checkpoint of parameters with moments is as large as all of them together; writing and reading one takes the room
//! of one tensor, measured by counting every allocation.

use crate::{ALLOCATOR, ALONE};
use clapp_engine::backend::cpu::Cpu;
use clapp_engine::checkpoint::{CPU, DataIdentity, Header, Place, resume, write};
use clapp_engine::config::{Config, RuleName};
use clapp_engine::distributed::Ranks;
use clapp_engine::trainer::{State, train};
use clapp_tests::{small_config, stripes};
use std::ops::ControlFlow;
use std::sync::Arc;

/// For names, the header, and the pieces in which bytes are handed on.
const ROOM: usize = 1 << 19;

/// Returns the peak of bytes allocated during `work`, and the result of `work`.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let result = work();
    (ALLOCATOR.peak_usage() - before, result)
}

#[test]
fn writing_and_reading_a_checkpoint_takes_the_room_of_one_tensor() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let data = stripes(12, 4);
    let config = Config { width: 20.0, ..small_config(RuleName::ClappPpBoth) };
    let images = Arc::new(data.pretrain.clone());
    let mut state = State::first(&Cpu, &config).expect("first values");
    train(&Ranks::alone(), &config, &images, 1, &mut state, |_, _, _| Ok(ControlFlow::Break(()))).expect("a step");
    let spec = config.network().expect("a network");
    let sizes: Vec<usize> = spec
        .layers()
        .iter()
        .flat_map(|layer| spec.tensors(layer))
        .map(|(_, shape)| shape.iter().product::<usize>() * size_of::<f32>())
        .collect();
    // AdamW: values, first and second moments.
    let (all, largest) = (3 * sizes.iter().sum::<usize>(), sizes.iter().max().copied().expect("a tensor"));
    assert!(all > 5 * largest && largest > 4 * ROOM, "{sizes:?}: large enough that a second copy would show");

    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("checkpoint.safetensors");
    let at = Place { step: state.step, data: DataIdentity::of("stripes", &images), ranks: 1, backend: CPU.into() };
    let (room, ()) = peak(|| write(&path, &Cpu, &config, &at, 0, &state.model).expect("written"));
    assert!(room <= largest + ROOM, "writing takes {room} bytes, the largest tensor has {largest}");
    assert!(std::fs::metadata(&path).expect("a file").len() > all as u64);
    drop(state);

    let (room, _) = peak(|| Header::read(&path).expect("a header"));
    assert!(room <= ROOM, "reading the header takes {room} bytes");
    let (room, (_, state)) = peak(|| resume(&path, &Cpu).expect("a state"));
    assert!(room <= all + largest + ROOM, "reading takes {room} bytes, the state has {all}, a tensor {largest}");
    assert_eq!(state.step, 1);
}
