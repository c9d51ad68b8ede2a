//! The memory plan: what grows with depth, and that no kernel reads or writes beyond it.

use clapp_core::network::{Block, LossPool, NetworkView, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;

fn blocks(depth: usize) -> Vec<Block> {
    let block = Block::conv(8, [3, 3]).padding([1, 1]).loss_pool(LossPool::Block([8, 8]));
    vec![block; depth]
}

#[test]
fn only_the_contexts_grow_with_depth() {
    for rule in [Rule::clapp_pp(), Rule::clapp_pp_dfb(), Rule::clapp_pp_both()] {
        let two = blocks(2);
        let two = NetworkView::try_new(Shape::new(8, 16, 16), &two, rule).unwrap();
        for depth in 3..12 {
            let deep = blocks(depth);
            let deep = NetworkView::try_new(Shape::new(8, 16, 16), &deep, rule).unwrap();
            assert_eq!(deep.stream_len(), two.stream_len());
            assert_eq!(deep.inference_len(), two.inference_len());
            assert_eq!(deep.batch_len(4, 1), two.batch_len(4, 1));
            assert_eq!(deep.argmax_len(), two.argmax_len());
            // One vector a layer.
            assert_eq!(deep.context_len(), depth * 8 * 4);
            assert!(deep.backprop_activation_len() > two.backprop_activation_len());
        }
    }
}

#[test]
fn state_of_the_optimisers() {
    let blocks = blocks(2);
    let network = NetworkView::try_new(Shape::new(8, 16, 16), &blocks, Rule::clapp_pp()).unwrap();
    let parameters = network.parameter_len();
    assert_eq!(Optimizer::sgd(0.1).state_len(&network), 0);
    assert_eq!(Optimizer::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0 }.state_len(&network), parameters);
    assert_eq!(Optimizer::adam_w(0.1).state_len(&network), 2 * parameters);
    assert_eq!(Optimizer::Record.state_len(&network), parameters);
}
