//! Cost of a network on the device: instructions and stack of inference and learning, printed line by line.
//!
//! A line is `name=value` of whole numbers; a number that could not be measured is missing.

pub mod measure;
pub mod networks;

use clapp_core::contrast::Phase;
use clapp_core::guard::Guard;
use clapp_core::init;
use clapp_core::learner::{Buffers, Learner, Progress, infer};
use clapp_core::network::NetworkView;
use clapp_core::observer::Outcome;
use clapp_core::optimizer::Optimizer;
use clapp_core::rng;
use defmt_semihosting as _;
use measure::{Counter, known_loop, stack};
use semihosting::{eprintln, println};

/// Frames that are learnt from, after the one that only becomes the context.
const STEPS: u64 = 16;

/// Prints `name=value` where there is a value.
pub fn line(name: &str, value: Option<u64>) {
    if let Some(value) = value {
        println!("{name}={value}");
    }
}

/// Prints how many instructions are counted for a million of which it is known.
pub fn calibrate(counter: &mut Counter) {
    let (counted, ()) = counter.count(|| known_loop(500_000));
    line("instructions_counted_of_a_million", counted);
}

/// Fills a frame with 8-bit pixels of a random image with some structure: blocks of 4x4, and noise on top.
fn draw(frame: &mut [f32], width: usize, image: u64, view: u64) {
    let mut noise = rng::stream(image, view + 1);
    for (at, pixel) in frame.iter_mut().enumerate() {
        let (row, column) = (at / width, at % width);
        let mut block = rng::stream(image, ((row / 4) * width + column / 4) as u64);
        *pixel = (block.below(192) + noise.below(64)) as f32 / 255.0;
    }
}

/// Measures a network, prints all numbers, and ends QEMU.
pub fn run(network: NetworkView<'_>, optimizer: Optimizer, memory: (&mut [f32], Buffers<'_>)) -> ! {
    if let Some(peripherals) = cortex_m::Peripherals::take() {
        let mut counter = Counter::new(peripherals.SYST);
        if measure(network, optimizer, memory, &mut counter).is_some() {
            semihosting::process::exit(0)
        }
    }
    eprintln!("the network does not fit its memory");
    semihosting::process::exit(1)
}

/// Prints the reason for the stop, and ends QEMU.
pub fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    semihosting::process::exit(1)
}

fn measure(
    network: NetworkView<'_>,
    optimizer: Optimizer,
    (frame, buffers): (&mut [f32], Buffers<'_>),
    counter: &mut Counter,
) -> Option<()> {
    let width = network.input().width;
    init::uniform(&network, 1, buffers.parameters).ok()?;
    draw(frame, width, 0, 0);
    let (inference, inferred) =
        counter.count(|| infer(&network, buffers.parameters, frame, buffers.workspace, buffers.contexts));
    let inference = inference.filter(|_| inferred == Ok(()));

    let mut learner = Learner::new(network, optimizer, Guard::default(), buffers).ok()?;
    let (mut sum, mut most, mut longest, mut applied) = (Some(0), Some(0), Some(0), 0_u64);
    for step in 0..=STEPS {
        // Two views of an image, then another image.
        draw(frame, width, step / 2, step);
        let phase = if step % 2 == 1 { Phase::Fixation } else { Phase::Saccade };
        let (mut total, pass) = counter.count(|| learner.begin_frame(frame, phase, 1.0));
        let mut pass = pass.ok()?;
        loop {
            let (instructions, progress) = counter.count(|| pass.step_layer(&mut ()));
            total = total.zip(instructions).map(|(a, b)| a + b);
            let Some(progress) = progress else { break };
            if step > 0 {
                longest = longest.zip(instructions).map(|(a, b)| a.max(b));
            }
            if let Progress::Learnt(report) = progress {
                applied += u64::from(report.outcome == Outcome::Applied && report.update_norm > 0.0);
            }
        }
        if step > 0 {
            sum = sum.zip(total).map(|(a, b)| a + b);
            most = most.zip(total).map(|(a, b)| a.max(b));
        }
    }
    // Measure before printing, because printing uses stack too.
    let (stack_used, stack_size) = stack();

    calibrate(counter);
    line("forward_macs", Some(network.forward_macs()));
    line("step_macs", Some(network.stream_macs()));
    line("inference", inference);
    line("step_mean", sum.map(|sum| sum / STEPS));
    line("step_most", most);
    line("layer_most", longest);
    line("updates", Some(applied));
    line("updates_possible", Some(STEPS * network.layer_count() as u64));
    line("parameter_bytes", Some(4 * network.parameter_len() as u64));
    line("context_bytes", Some(4 * network.context_len() as u64));
    line("workspace_bytes", Some(4 * network.stream_len() as u64 + network.argmax_len() as u64));
    line("stack_used", Some(stack_used as u64));
    line("stack_size", Some(stack_size as u64));
    Some(())
}
