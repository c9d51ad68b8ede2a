//! A checkpoint taken apart, to be put together again in a wrong way.

use crc::{CRC_32_ISO_HDLC, Crc};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};
use std::collections::{BTreeMap, HashMap};

/// Metadata and tensors of a checkpoint.
pub struct Parts {
    pub metadata: HashMap<String, String>,
    pub tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    /// Takes a file apart.
    pub fn of(bytes: &[u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(bytes).expect("a header");
        let file = SafeTensors::deserialize(bytes).expect("a file");
        let tensor = |(name, view): (String, TensorView<'_>)| {
            (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
        };
        Self {
            metadata: header.metadata().clone().expect("metadata"),
            tensors: file.tensors().into_iter().map(tensor).collect(),
        }
    }

    /// Puts it together, with the checksum of the tensors as they are.
    pub fn bytes(&self) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        let bytes = self.with(&metadata);
        let (header, _) = SafeTensors::read_metadata(&bytes).expect("a header");
        let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&bytes[8 + header..]);
        if let Some(entry) = metadata.get_mut("clapp")
            && let Ok(mut fields) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(entry)
            && let Some(field) = fields.get_mut("crc32")
        {
            *field = format!("{checksum:08x}").into();
            *entry = serde_json::to_string(&fields).expect("text");
        }
        self.with(&metadata)
    }

    fn with(&self, metadata: &HashMap<String, String>) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        serialize(views, Some(metadata.clone())).expect("a file")
    }

    /// Changes the fields of the checkpoint's entry in the metadata.
    pub fn header(&mut self, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let entry = self.metadata.get_mut("clapp").expect("the entry");
        let mut fields = serde_json::from_str(entry).expect("its fields");
        change(&mut fields);
        *entry = serde_json::to_string(&fields).expect("text");
    }

    /// Spoils a value of a tensor.
    pub fn nan(&mut self, name: &str) {
        let (_, _, bytes) = self.tensors.get_mut(name).expect("it");
        bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    }
}
