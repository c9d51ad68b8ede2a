//! Sums and collections over several GPUs, one process a GPU, through NCCL.
//!
//! NCCL's functions are taken from the library by hand: `cudarc` looks for `libnccl.so` only, while NCCL's packages
//! have `libnccl.so.2`. The types are `cudarc`'s.

use super::super::executor::GpuError;
use super::super::op::Collective;
use super::errors::failed;
use super::group::Group;
use super::libraries::{Library, Open};
use cudarc::driver::CudaStream;
use cudarc::nccl::sys::{cudaStream_t, ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use std::ffi::{CStr, c_char, c_int, c_void};

// A status is an integer here: a newer library may have more of them than `cudarc` knows.
type GetUniqueId = unsafe extern "C" fn(*mut ncclUniqueId) -> c_int;
type CommInitRank = unsafe extern "C" fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int) -> c_int;
type CommDestroy = unsafe extern "C" fn(ncclComm_t) -> c_int;
type AllReduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    ncclDataType_t,
    ncclRedOp_t,
    ncclComm_t,
    cudaStream_t,
) -> c_int;
type AllGather =
    unsafe extern "C" fn(*const c_void, *mut c_void, usize, ncclDataType_t, ncclComm_t, cudaStream_t) -> c_int;
type GetErrorString = unsafe extern "C" fn(c_int) -> *const c_char;

/// The functions that are used.
#[derive(Debug)]
struct Functions {
    get_unique_id: GetUniqueId,
    comm_init_rank: CommInitRank,
    comm_destroy: CommDestroy,
    all_reduce: AllReduce,
    all_gather: AllGather,
    get_error_string: GetErrorString,
}

impl Functions {
    fn of(open: &'static Open) -> Result<Self, GpuError> {
        fn get<T: Copy>(open: &'static Open, name: &str) -> Result<T, GpuError> {
            // SAFETY: the types above are those of NCCL's header, from version 2.0 on; the library stays open.
            let function = unsafe { open.functions.get::<T>(name) };
            function
                .map(|function| *function)
                .map_err(|error| failed(format!("{}: {name}", open.name), error.to_string()))
        }
        Ok(Self {
            get_unique_id: get(open, "ncclGetUniqueId")?,
            comm_init_rank: get(open, "ncclCommInitRank")?,
            comm_destroy: get(open, "ncclCommDestroy")?,
            all_reduce: get(open, "ncclAllReduce")?,
            all_gather: get(open, "ncclAllGather")?,
            get_error_string: get(open, "ncclGetErrorString")?,
        })
    }

    fn check(&self, what: &str, status: c_int) -> Result<(), GpuError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: NCCL gives a text that lives as long as the program.
        let said = unsafe { CStr::from_ptr((self.get_error_string)(status)) };
        Err(failed(what, format!("NCCL says: {} ({status})", said.to_string_lossy())))
    }
}

/// This process among those that train together.
#[derive(Debug)]
pub struct Communicator {
    functions: Functions,
    communicator: ncclComm_t,
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // SAFETY: it was made by `join` and is given back once. Nobody can do anything about a failure.
        let _ = unsafe { (self.functions.comm_destroy)(self.communicator) };
    }
}

impl Communicator {
    /// Joins the others; the context of this process's GPU is the thread's. Waits until all have come.
    ///
    /// # Errors
    /// [`GpuError::Missing`] without NCCL; [`GpuError::Failed`] where the others do not come.
    pub fn join(group: &Group) -> Result<Self, GpuError> {
        let functions = Functions::of(Library::Nccl.require()?)?;
        let make = || {
            let mut id = ncclUniqueId { internal: [0; 128] };
            // SAFETY: NCCL writes the 128 bytes.
            functions.check("asking NCCL for an id", unsafe { (functions.get_unique_id)(&raw mut id) })?;
            Ok(id.internal.map(|byte| byte as u8))
        };
        let id = ncclUniqueId { internal: group.exchange(make)?.map(|byte| byte as c_char) };
        let mut communicator: ncclComm_t = std::ptr::null_mut();
        let count = |number: usize| c_int::try_from(number).unwrap_or(c_int::MAX);
        // SAFETY: the id was made by NCCL on rank 0; each rank below the size joins once.
        let status =
            unsafe { (functions.comm_init_rank)(&raw mut communicator, count(group.size), id, count(group.rank)) };
        functions.check(&format!("joining {} processes as rank {}", group.size, group.rank), status)?;
        group.joined();
        Ok(Self { functions, communicator })
    }

    /// Queues a collective of `len` values of `f32`.
    ///
    /// # Errors
    /// If NCCL refuses.
    ///
    /// # Safety
    /// The addresses are the device's, with as many bytes as the collective reads and writes, and stay until all that
    /// is queued has run; all ranks do the same in the same order.
    pub unsafe fn run(
        &self,
        what: Collective,
        input: u64,
        out: u64,
        len: usize,
        stream: &CudaStream,
    ) -> Result<(), GpuError> {
        let (from, to) = (input as *const c_void, out as *mut c_void);
        let (stream, kind) = (stream.cu_stream().cast(), ncclDataType_t::ncclFloat32);
        // SAFETY: the communicator lives; the rest is the caller's promise.
        unsafe {
            match what {
                Collective::Sum => {
                    let status = (self.functions.all_reduce)(
                        from,
                        to,
                        len,
                        kind,
                        ncclRedOp_t::ncclSum,
                        self.communicator,
                        stream,
                    );
                    self.functions.check("the sum over all ranks", status)
                }
                Collective::Gather { .. } => {
                    let status = (self.functions.all_gather)(from, to, len, kind, self.communicator, stream);
                    self.functions.check("the collection over all ranks", status)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs where NCCL is found; it needs neither a driver nor a GPU to say its functions and its errors.
    #[test]
    fn all_functions_are_there_where_nccl_is() {
        let open = match Library::Nccl.require() {
            Ok(open) => open,
            Err(error) => return eprintln!("not run: {error}"),
        };
        let functions = Functions::of(open).unwrap();
        functions.check("nothing", 0).unwrap();
        let error = functions.check("joining", 4).unwrap_err().to_string();
        assert!(error.starts_with("joining failed: NCCL says: invalid argument"), "{error}");
    }
}
