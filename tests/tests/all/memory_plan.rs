//! A promise of the core's plan: only the contexts grow with depth, no other learning buffer.

use clapp_core::guard::Guard;
use clapp_core::learner::{Batch, Buffers, LayerState, Learner, ring_negatives};
use clapp_core::network::{Block, LossPool, NetworkView, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use clapp_engine::config::RuleName;
use clapp_tests::{numbers, small_config, uniform};

#[test]
fn workspace_of_the_core_is_flat_over_depth_and_contexts_grow_by_one_vector_a_layer() {
    let block = Block::conv(8, [3, 3]).padding([1, 1]).loss_pool(LossPool::Block([8, 8]));
    for rule in [Rule::clapp_pp(), Rule::clapp_pp_dfb(), Rule::clapp_pp_both()] {
        let sizes = |depth: usize| {
            let blocks = vec![block; depth];
            let view = NetworkView::try_new(Shape::new(8, 16, 16), &blocks, rule).expect("a network");
            let workspaces = [view.stream_len(), view.batch_len(16, 3), view.inference_len()];
            (workspaces, view.context_len(), view.backprop_activation_len())
        };
        let (three, three_contexts, three_maps) = sizes(3);
        for depth in [6, 9, 12] {
            let (deep, contexts, maps) = sizes(depth);
            assert_eq!(deep, three, "{rule:?} with {depth} layers");
            assert_eq!(contexts - three_contexts, (depth - 3) * 8 * 4);
            assert_eq!(maps - three_maps, (depth - 3) * 8 * 256);
        }
    }
}

#[test]
fn a_batch_is_learnt_in_the_planned_workspace_and_refused_in_one_that_is_an_element_shorter() {
    for rule in [RuleName::ClappPp, RuleName::ClappPpDfb, RuleName::ClappPpBoth] {
        let spec = small_config(rule).network().expect("a network");
        let view = spec.view();
        let pairs = 3;
        let planned = view.batch_len(pairs, 1);
        let frames = uniform(&mut numbers(1), 2 * pairs * view.input().len(), 1.0);
        let mut negatives = vec![0; 2 * pairs];
        ring_negatives(&mut negatives, 2 * pairs);
        for (length, fits) in [(planned, true), (planned - 1, false)] {
            let mut parameters = vec![0.0; view.parameter_len()];
            clapp_core::init::uniform(&view, 1, &mut parameters).expect("parameters of this length");
            let first = parameters.clone();
            let buffers = Buffers {
                parameters: &mut parameters,
                state: &mut [],
                contexts: &mut vec![0.0; view.context_len()],
                layers: &mut vec![LayerState::NEW; view.layer_count()],
                workspace: &mut vec![0.0; length],
                argmax: &mut vec![0; view.batch_argmax_len(pairs)],
            };
            let mut learner = Learner::new(view, Optimizer::sgd(0.01), Guard::default(), buffers).expect("a learner");
            let batch = Batch { frames: &frames, negatives: &negatives, keep_positive: None };
            assert_eq!(learner.step(&batch, 1.0, &mut ()).is_ok(), fits, "{rule:?}");
            assert_eq!(learner.parameters() != first, fits, "{rule:?}: parameters change only where it fits");
        }
    }
}
