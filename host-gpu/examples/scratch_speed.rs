use clapp_core::network::*;
use clapp_core::shape::Shape;
use clapp_host_gpu::{backend::*, model::*, optimizer::Optimizer, step::*};
fn main() {
    let w: f32 = std::env::args().nth(1).map_or(0.25, |a| a.parse().unwrap());
    let c = |n: usize| ((n as f32 * w) as usize).max(1);
    let b = |n, m: bool, k| {
        let b = Block::conv(c(n), [3, 3]).padding([1, 1]).loss_pool(LossPool::Block([k, k]));
        if m { b.max_pool([2, 2]) } else { b }
    };
    let blocks =
        vec![b(128, false, 4), b(256, true, 4), b(256, false, 4), b(512, true, 2), b(1024, true, 2), b(1024, true, 1)];
    for (name, rule, learning) in [
        ("same", Rule::clapp_pp(), Learning::Local),
        ("top", Rule::clapp_pp_dfb(), Learning::Local),
        ("both", Rule::clapp_pp_both(), Learning::Local),
        ("bp", Rule::clapp_pp(), Learning::Global),
    ] {
        let mut blocks = blocks.clone();
        if learning == Learning::Global {
            blocks[5].loss_pool = LossPool::Global;
        }
        let spec = NetworkSpec::new(Shape::new(3, 32, 32), blocks, rule, learning).unwrap();
        let mut seed = 1u64;
        let mut r = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((seed >> 40) as f32) / (1u64 << 24) as f32 * 2.0 - 1.0
        };
        let values: Vec<LayerValues> = spec
            .layers()
            .iter()
            .map(|l| {
                let mut v = LayerValues::default();
                for (role, shape) in spec.tensors(l) {
                    let n: usize = shape.iter().product();
                    let fan: usize = shape[1..].iter().product::<usize>().max(1);
                    let fan = if role == TensorRole::Bias { l.fan_in() } else { fan };
                    let s = 1.0 / (fan as f32).sqrt();
                    *v.get_mut(role) = (0..n).map(|_| r() * s).collect();
                }
                v
            })
            .collect();
        let cpu = cpu::Cpu;
        let mut model = Model::upload(&cpu, spec.clone(), &values);
        let x: Vec<f32> = (0..64 * 3072).map(|_| r()).collect();
        let neg: Vec<usize> = (0..64).map(|j| (j + 1) % 64).collect();
        let opt = Optimizer::adamw(2e-4);
        let mut last = 0.0;
        let t0 = std::time::Instant::now();
        let mut t = t0;
        let n = 12;
        for s in 1..=n {
            if s == 3 {
                t = std::time::Instant::now();
            }
            let rep = step(
                &cpu,
                &mut model,
                cpu.upload_frames(spec.input(), &x),
                64,
                Pairing { negatives: &neg, keep_positive: None },
                Mode::Update { optimizer: &opt, step: s },
            );
            last = rep.iter().map(|s| layer_loss(s)).sum();
        }
        let dt = t.elapsed().as_secs_f64() / (n - 2) as f64;
        println!("{name}: {:.1} ms/step {:.0} img/s loss {last}", dt * 1e3, 32.0 / dt);
    }
}
