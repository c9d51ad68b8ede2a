//! A way of computing is run once, on memory of its own, before it is relied on: libraries offer ways that then fail.

use super::super::executor::GpuError;
use super::super::op::MapType;
use super::errors::{failed, text};
use cudarc::driver::{CudaStream, DriverError, result as cuda};

/// Parts of memory begin at multiples of this.
const ALIGNMENT: usize = 256;

/// Most bytes to look at, both at the beginning and at the end of the result.
const SEEN: usize = 1 << 20;

/// The outcome of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It works.
    Works,
    /// It does not, and why; the GPU is as it was.
    Fails(String),
    /// There is not enough memory to try it.
    NoRoom,
}

/// Two operands of zeros, a result and scratch, given back at once.
#[derive(Debug)]
pub struct Memory {
    address: u64,
    /// The two operands and the result.
    pub operands: [u64; 3],
    /// Scratch, and how many bytes.
    pub scratch: (u64, usize),
}

impl Memory {
    /// Of so many bytes each; `None` where the device has not so much left. The context is the thread's.
    pub fn new(bytes: [usize; 3], scratch: usize) -> Option<Self> {
        let [a, b, out] = bytes.map(|bytes| bytes.next_multiple_of(ALIGNMENT));
        let operands = a + b + out;
        // SAFETY: the memory is given back by `drop`; zeros are numbers in every type, and none of them is slow.
        let address = unsafe {
            let address = cuda::malloc_sync((operands + scratch).max(1)).ok()?;
            if cuda::memset_d8_sync(address, 0, operands).is_err() {
                let _ = cuda::free_sync(address);
                return None;
            }
            address
        };
        let operands = [address, address + a as u64, address + (a + b) as u64];
        let scratch = (operands[2] + out as u64, scratch);
        Some(Self { address, operands, scratch })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was taken above and is given back once; this waits until the device no longer uses it.
        let _ = unsafe { cuda::free_sync(self.address) };
    }
}

/// Runs something once on operands of zeros, and waits for it: all of its result must be zeros. `bytes` are those of the
/// two operands and the result.
///
/// # Errors
/// If the GPU is lost to this process by it.
pub fn once(
    stream: &CudaStream,
    what: &str,
    bytes: [usize; 3],
    scratch: usize,
    maps: MapType,
    run: impl FnOnce(&Memory) -> Result<(), String>,
) -> Result<Tried, GpuError> {
    let Some(memory) = Memory::new(bytes, scratch) else { return Ok(Tried::NoRoom) };
    let len = bytes[2];
    let mut seen = vec![0; len.min(SEEN)];
    let mut ends = |from: usize| -> Result<bool, DriverError> {
        // SAFETY: the memory is this function's; the bytes are borrowed until the device has written them.
        unsafe { cuda::memcpy_dtoh_async(&mut seen, memory.operands[2] + from as u64, stream.cu_stream()) }?;
        stream.synchronize()?;
        Ok(zeros(&seen, maps))
    };
    let driver = |error: DriverError| text(error);
    // SAFETY: as above; what is not written stays NaN.
    let ran = unsafe { cuda::memset_d8_async(memory.operands[2], 0xff, len, stream.cu_stream()) }
        .map_err(driver)
        .and_then(|()| run(&memory))
        .and_then(|()| stream.synchronize().map_err(driver))
        .and_then(|()| Ok(ends(0).map_err(driver)? && ends(len - len.min(SEEN)).map_err(driver)?));
    let reason = match ran {
        Ok(true) => return Ok(Tried::Works),
        Ok(false) => "of zeros it makes something else".to_string(),
        Err(reason) => reason,
    };
    // An error that stays is the end of this process's use of the GPU.
    match stream.synchronize() {
        Ok(()) => Ok(Tried::Fails(reason)),
        Err(_) => Err(failed(what, format!("{reason}; the GPU is lost to this process"))),
    }
}

/// True if all values are zeros, of either sign.
fn zeros(bytes: &[u8], maps: MapType) -> bool {
    match maps {
        MapType::F32 => bytes.as_chunks().0.iter().all(|bytes| f32::from_ne_bytes(*bytes) == 0.0),
        MapType::Bf16 => bytes.as_chunks().0.iter().all(|bytes| u16::from_ne_bytes(*bytes) & 0x7fff == 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_either_sign_are_zeros() {
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_ne_bytes()).collect() };
        assert!(zeros(&bytes(&[0.0, -0.0]), MapType::F32));
        assert!(!zeros(&bytes(&[0.0, f32::NAN]), MapType::F32));
        assert!(!zeros(&bytes(&[1e-38]), MapType::F32));
        assert!(zeros(&[0, 0, 0, 0x80], MapType::Bf16) == cfg!(target_endian = "little"));
        assert!(!zeros(&[0, 0, 1, 0], MapType::Bf16));
    }
}
