//! The format of checkpoints, against an image of version 1 that is kept for ever.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that fails here has found something")]

mod flash;

use clapp_core::checkpoint::{self, Contents, ContentsMut, DecodeError, Error, Lengths, Unit};
use clapp_core::learner::LayerState;
use clapp_core::network::{Activation, Block, Context, Contrast, LossPool, Network, Projection, Rule};
use clapp_core::optimizer::Optimizer;
use clapp_core::shape::Shape;
use clapp_core::storage::Store;
use flash::Cells;
use proptest::prelude::*;

/// One slot after the first save of [`Example`] to a blank store. Never to be changed.
const IMAGE: &[u8] = include_bytes!("fixtures/checkpoint-v1.bin");

const RULE: Rule = Rule {
    contrast: Contrast::Phyll { theta: 0.5 },
    context: Context::Both,
    projection: Projection::Frozen,
    pos_coeff: 0.75,
};

const NETWORK: Network<2> = Network::new(
    Shape::new(1, 6, 6),
    [
        Block::conv(2, [3, 3]).padding([1, 1]).max_pool([2, 2]).loss_pool(LossPool::Adaptive([2, 1])),
        Block::conv(3, [2, 2]).without_bias().activation(Activation::Identity),
    ],
    RULE,
);

/// Of [`NETWORK`]; never to be changed.
const ARCHITECTURE: u64 = 0x7329_a0bd_2921_e37c;

const LENGTHS: Lengths =
    Lengths::of(&NETWORK.view(), &Optimizer::Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.0 }, 14, 2);

/// Buffers of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
struct Buffers {
    parameters: Vec<f32>,
    state: Vec<f32>,
    layers: Vec<LayerState>,
    readout: Vec<f32>,
    counts: Vec<u32>,
}

impl Buffers {
    fn new(lengths: Lengths) -> Self {
        Self {
            parameters: vec![0.0; lengths.parameters],
            state: vec![0.0; lengths.state],
            layers: vec![LayerState::NEW; lengths.layers],
            readout: vec![0.0; lengths.readout],
            counts: vec![0; lengths.counts],
        }
    }

    /// What the image holds.
    fn example() -> Self {
        let numbers = |count: usize, first: f32| (0..count).map(|at| first - at as f32 / 8.0).collect::<Vec<f32>>();
        let mut example = Self {
            parameters: numbers(LENGTHS.parameters, 1.0),
            state: numbers(LENGTHS.state, 100.0),
            layers: vec![
                LayerState { frozen: true, steps: 0x0102_0304, refused: 5 },
                LayerState { frozen: false, steps: 6, refused: 0 },
            ],
            readout: numbers(LENGTHS.readout, -7.0),
            counts: vec![10, u32::MAX],
        };
        example.parameters[1] = -0.0;
        example.parameters[2] = f32::from_bits(1);
        example.state[3] = f32::INFINITY;
        example
    }

    fn contents(&self, step: u64) -> Contents<'_> {
        Contents {
            step,
            parameters: &self.parameters,
            state: &self.state,
            layers: &self.layers,
            readout: &self.readout,
            counts: &self.counts,
        }
    }

    fn contents_mut(&mut self) -> ContentsMut<'_> {
        ContentsMut {
            parameters: &mut self.parameters,
            state: &mut self.state,
            layers: &mut self.layers,
            readout: &mut self.readout,
            counts: &mut self.counts,
        }
    }

    /// All of it as bits, so that NaN equals itself.
    fn bits(&self) -> Vec<u32> {
        let floats = [&self.parameters[..], &self.state, &self.readout].concat();
        let layers = self.layers.iter().flat_map(|layer| [u32::from(layer.frozen), layer.steps, layer.refused]);
        floats.into_iter().map(f32::to_bits).chain(layers).chain(self.counts.iter().copied()).collect()
    }
}

const STEP: u64 = 0x0807_0605_0403_0201;

/// Fills units from an image; the end of the image is an error.
fn source(image: &[u8]) -> impl FnMut(u32, &mut Unit) -> Result<(), &'static str> + '_ {
    |index, unit| {
        let start = index as usize * Unit::LEN;
        unit.bytes_mut().copy_from_slice(image.get(start..start + Unit::LEN).ok_or("the image is cut short")?);
        Ok(())
    }
}

#[test]
fn the_image_of_version_1_holds_what_it_always_did() {
    let mut found = Buffers::new(LENGTHS);
    let header =
        checkpoint::decode(source(IMAGE), ARCHITECTURE, &mut found.contents_mut()).expect("a checkpoint").header;
    assert_eq!((header.step, header.sequence, header.architecture), (STEP, 1, ARCHITECTURE));
    assert_eq!((header.lengths, header.stored_len()), (LENGTHS, IMAGE.len()));
    assert_eq!(found.bits(), Buffers::example().bits());
    // The store finds it, too, in either slot.
    for slot in [0, 1] {
        let mut image = vec![0xff; 2 * IMAGE.len()];
        image[slot * IMAGE.len()..][..IMAGE.len()].copy_from_slice(IMAGE);
        let mut cells = Cells::with_bytes::<32, 32>(&image);
        let mut store = Store::open(cells.on::<32, 32>(), 0, IMAGE.len() as u32, ARCHITECTURE).expect("a store");
        let mut found = Buffers::new(LENGTHS);
        let loaded = store.load(&mut found.contents_mut()).expect("a checkpoint");
        assert_eq!((loaded.slot as usize, loaded.header), (slot, header));
        assert_eq!(found.bits(), Buffers::example().bits());
        assert_eq!(cells.bytes(), image, "a whole checkpoint is only read");
    }
}

#[test]
fn the_same_contents_are_the_same_bytes_on_every_flash() {
    fn saved<const W: usize, const E: usize>() -> Vec<u8> {
        let slot = LENGTHS.slot_len(E);
        let mut cells = Cells::new::<W, E>(2 * slot, true, 0);
        let mut store = Store::open(cells.on::<W, E>(), 0, slot as u32, ARCHITECTURE).expect("a store");
        store.save(&Buffers::example().contents(STEP)).expect("a save");
        cells.bytes()
    }
    for bytes in [saved::<1, 1>(), saved::<4, 4096>(), saved::<8, 2048>(), saved::<32, 32>()] {
        let (slot, rest) = bytes.split_at(IMAGE.len());
        assert!(slot == IMAGE, "the format has changed");
        assert!(rest.iter().all(|&byte| byte == 0xff));
    }
}

/// CRC-32 (ISO-HDLC), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

/// The table of `docs/checkpoint-format.md`, read without the library.
#[test]
fn the_image_is_what_the_document_says() {
    let word = |at: usize| u32::from_le_bytes(IMAGE[at..at + 4].try_into().expect("four bytes"));
    let number = |at: usize| u64::from_le_bytes(IMAGE[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!(&IMAGE[..8], b"CLAPPchk");
    assert_eq!(IMAGE[8..12], [1, 0, 1, 0]);
    assert_eq!(
        [word(12), word(40), word(44), word(48), word(52)],
        [2, LENGTHS.parameters as u32, LENGTHS.state as u32, 14, 2]
    );
    assert_eq!([number(16), number(24), number(32)], [ARCHITECTURE, STEP, 1]);
    let payload = 3 * 2 + LENGTHS.parameters + LENGTHS.state + 14 + 2;
    assert_eq!([word(56), word(60)], [payload as u32, crc32(&IMAGE[..60])]);

    let end = 320 + (4 * (payload + 1)).next_multiple_of(32);
    assert_eq!(IMAGE.len(), end);
    let contents = crc32(&[&IMAGE[..60], &IMAGE[320..end - 4]].concat());
    assert_eq!(word(end - 4), contents);
    assert!(IMAGE[320 + 4 * payload..end - 4].iter().all(|&byte| byte == 0xff));
    for (at, magic, commit) in [(64, b"CMT1", 65536), (96, b"CMT2", 65536 + 4096)] {
        assert_eq!((&IMAGE[at..at + 4], word(at + 4), number(at + 8)), (&magic[..], contents, commit));
        assert_eq!(word(at + 16), crc32(&IMAGE[at..at + 16]));
        assert!(IMAGE[at + 20..at + 32].iter().all(|&byte| byte == 0xff));
    }
    assert!(IMAGE[128..320].iter().all(|&byte| byte == 0xff));

    assert_eq!([320, 324, 328, 332, 336, 340].map(word), [1, 0x0102_0304, 5, 0, 6, 0]);
    assert_eq!(word(344), 1.0_f32.to_bits());
    assert_eq!(word(344 + 4 * LENGTHS.parameters), 100.0_f32.to_bits());
    assert_eq!(word(344 + 4 * (LENGTHS.parameters + LENGTHS.state)), (-7.0_f32).to_bits());
    assert_eq!(word(320 + 4 * (payload - 1)), u32::MAX);
}

/// CRC-64 (XZ), bit by bit.
fn crc64(words: &[u32]) -> u64 {
    let mut crc = !0_u64;
    for byte in words.iter().flat_map(|word| word.to_le_bytes()) {
        crc ^= u64::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xc96c_5795_d787_0f42 } else { 0 };
        }
    }
    !crc
}

#[test]
fn the_architecture_is_the_hash_of_the_document() {
    const AT_COMPILE_TIME: u64 = checkpoint::architecture(&NETWORK.view());
    assert_eq!(AT_COMPILE_TIME, ARCHITECTURE);
    let first = [2, 3, 3, 1, 1, 1, 1, 1, 0, 2, 2, 1, 2, 1];
    let second = [3, 2, 2, 1, 1, 0, 0, 0, 1, 0, 0, 2, 0, 0];
    let rule = [2, 0.5_f32.to_bits(), 2, 1, 0.75_f32.to_bits()];
    assert_eq!(ARCHITECTURE, crc64(&[&[1, 6, 6, 2], &first[..], &second, &rule].concat()));
}

#[test]
fn every_field_of_a_network_is_part_of_its_architecture() {
    let block = Block::conv(2, [3, 3]).padding([1, 1]).max_pool([2, 2]);
    let blocks = [
        block,
        Block { out_channels: 3, ..block },
        block.stride([2, 1]),
        block.padding([1, 2]),
        block.without_bias(),
        block.activation(Activation::Identity),
        Block { max_pool: None, ..block },
        block.max_pool([1, 2]),
        block.loss_pool(LossPool::Block([2, 2])),
        block.loss_pool(LossPool::Adaptive([2, 2])),
        Block { kernel: [1, 3], ..block },
    ];
    let rule = Rule::clapp_pp();
    let rules = [
        Rule { contrast: Contrast::SoftHinge, ..rule },
        Rule { contrast: Contrast::Linear, ..rule },
        Rule { contrast: Contrast::Phyll { theta: 1.0 }, ..rule },
        Rule { contrast: Contrast::Phyll { theta: 2.0 }, ..rule },
        Rule { contrast: Contrast::Goodness { theta: 2.0 }, ..rule },
        Rule { context: Context::Top, ..rule },
        Rule { context: Context::Both, ..rule },
        Rule { projection: Projection::Frozen, ..rule },
        Rule { projection: Projection::Identity, ..rule },
        Rule { pos_coeff: 0.5, ..rule },
    ];
    let of = |input, block, rule| {
        checkpoint::architecture(&Network::try_new(input, [block], rule).expect("a network").view())
    };
    let input = Shape::new(1, 8, 8);
    let mut seen: Vec<u64> = blocks.iter().map(|block| of(input, *block, rule)).collect();
    seen.extend(rules.iter().map(|rule| of(input, block, *rule)));
    for input in [Shape::new(2, 8, 8), Shape::new(1, 9, 8), Shape::new(1, 8, 9)] {
        seen.push(of(input, block, rule));
    }
    let two = Network::try_new(input, [block, block], rule).expect("a network");
    seen.push(checkpoint::architecture(&two.view()));
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

proptest! {
    #[test]
    fn any_contents_come_back_to_the_bit(
        parameters in prop::collection::vec(any::<u32>(), 0..40),
        state in prop::collection::vec(any::<u32>(), 0..20),
        readout in prop::collection::vec(any::<u32>(), 0..10),
        counts in prop::collection::vec(any::<u32>(), 0..10),
        layers in prop::collection::vec(any::<(bool, u32, u32)>(), 0..5),
        numbers in any::<[u64; 3]>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let [architecture, step, sequence] = numbers;
        let floats = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect::<Vec<f32>>();
        let buffers = Buffers {
            parameters: floats(parameters),
            state: floats(state),
            layers: layers.into_iter().map(|(frozen, steps, refused)| LayerState { frozen, steps, refused }).collect(),
            readout: floats(readout),
            counts,
        };
        let contents = buffers.contents(step);
        let mut image = vec![0xff; contents.lengths().stored_len()];
        checkpoint::encode(&contents, architecture, sequence, |index, unit| {
            image[index as usize * Unit::LEN..][..Unit::LEN].copy_from_slice(unit.bytes());
            Ok::<(), ()>(())
        }).expect("a sink that takes all");
        let mut found = Buffers::new(contents.lengths());
        let header = checkpoint::decode(source(&image), architecture, &mut found.contents_mut()).expect("whole").header;
        prop_assert_eq!((header.step, header.sequence), (step, sequence));
        prop_assert_eq!(found.bits(), buffers.bits());
        prop_assert_eq!(checkpoint::header(source(&image)), Ok(header));

        let short = &image[..cut.index(image.len())];
        let refused = checkpoint::decode(source(short), architecture, &mut found.contents_mut());
        prop_assert_eq!(refused, Err(DecodeError::Source("the image is cut short")));
    }

    #[test]
    fn noise_is_never_a_checkpoint(mut noise in prop::collection::vec(any::<u8>(), 400), magic in any::<bool>()) {
        if magic {
            noise[..8].copy_from_slice(b"CLAPPchk");
        }
        let mut found = Buffers::new(LENGTHS);
        let refused = checkpoint::decode(source(&noise), ARCHITECTURE, &mut found.contents_mut());
        prop_assert_eq!(refused, Err(DecodeError::Checkpoint(Error::Corrupt)));
    }
}
