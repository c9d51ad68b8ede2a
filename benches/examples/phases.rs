use clapp_benches::step_work::StepWork;
use clapp_host_gpu::backend::cpu::Cpu;
use clapp_host_gpu::backend::{Backend, Pairing};
use clapp_host_gpu::config::{Config, preset};
use std::time::Instant;
fn main() {
    let width: f32 = std::env::args().nth(1).unwrap().parse().unwrap();
    let threads: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().unwrap();
    let config = Config { width, ..preset("cifar10").unwrap() };
    let mut work = StepWork::of(&config, 32);
    let rows = 64;
    work.step();
    let negatives: Vec<usize> = (0..rows).map(|r| (r + 1) % rows).collect();
    let pairing = Pairing { negatives: &negatives, keep_positive: None };
    let mut x = Cpu.upload_frames(work.model.spec.input(), &work.frames);
    let layers = work.model.spec.layers().to_vec();
    let rule = work.model.spec.rule();
    let med = |f: &mut dyn FnMut()| {
        let mut t: Vec<f64> = (0..7)
            .map(|_| {
                let b = Instant::now();
                f();
                b.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        t.sort_by(f64::total_cmp);
        t[3]
    };
    for layer in &layers {
        let p = &mut work.model.layers[layer.index];
        let macs = (layer.weight_len() * layer.conv.area() * rows) as f64;
        let mut act = None;
        let tf = med(&mut || act = Some(Cpu.forward(layer, &p.weight.value, &p.bias.value, &x, rows)));
        let act = act.unwrap();
        let pooled = Cpu.pool(layer, &act);
        let tp = med(&mut || {
            Cpu.pool(layer, &act);
        });
        let b = p.projection.as_mut().unwrap();
        let mut f = None;
        let tc = med(&mut || f = Some(Cpu.contrast(&rule, pairing, &pooled, &pooled, Some(&b.value), rows)));
        let f = f.unwrap();
        let mut dp = None;
        let td = med(&mut || dp = Some(Cpu.pooled_gradient(pairing, &[&f], rows)));
        let dp = dp.unwrap();
        let mut g = None;
        let tg = med(&mut || g = Some(Cpu.local_gradient(layer, &x, &act, &dp)));
        let g = g.unwrap();
        let tu = med(&mut || {
            let e = Cpu.projection_errors(pairing, &pooled, &f, rows);
            Cpu.update_projection(&e, &pooled, rows, b, &config.optimizer, 2)
        });
        let tw = med(&mut || Cpu.update(&mut p.weight, &g.weight, &config.optimizer, 2));
        println!(
            "layer {} fwd {tf:7.2} ms ({:6.1} eff GF/s) grad {tg:7.2} ms ({:6.1}) pool {tp:5.2} contrast {tc:6.2} dp {td:5.2} proj {tu:7.2} ({:5.1} GB/s) adam {tw:5.2}",
            layer.index,
            2e-6 * macs / tf,
            2e-6 * macs / tg,
            b.value.len() as f64 * 24e-6 / tu
        );
        x = act.z;
    }
}
