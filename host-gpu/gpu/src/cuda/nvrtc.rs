//! NVRTC: the functions that are used, and compiling a source with them.

use super::calls::{Status, done, table, words};
use std::ffi::{CString, c_char, c_int, c_void};

/// A program of NVRTC.
type Handle = *mut c_void;

table! {
    /// The functions.
    Nvrtc of Nvrtc {
        nvrtcGetNumSupportedArchs: fn(*mut c_int) -> Status;
        nvrtcGetSupportedArchs: fn(*mut c_int) -> Status;
        nvrtcCreateProgram: fn(
            *mut Handle, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char,
        ) -> Status;
        nvrtcCompileProgram: fn(Handle, c_int, *const *const c_char) -> Status;
        nvrtcGetCUBINSize: fn(Handle, *mut usize) -> Status;
        nvrtcGetCUBIN: fn(Handle, *mut c_char) -> Status;
        nvrtcDestroyProgram: fn(*mut Handle) -> Status;
    } optional {
        nvrtcGetPTXSize: fn(Handle, *mut usize) -> Status;
        nvrtcGetPTX: fn(Handle, *mut c_char) -> Status;
        nvrtcGetProgramLogSize: fn(Handle, *mut usize) -> Status;
        nvrtcGetProgramLog: fn(Handle, *mut c_char) -> Status;
        nvrtcGetErrorString: fn(Status) -> *const c_char;
    }
}

/// The compiler's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Code of the GPU.
    Cubin,
    /// Text that the driver translates.
    Ptx,
}

impl Nvrtc {
    /// The machines that it knows: 90 is `sm_90`.
    ///
    /// # Errors
    /// In its own words.
    pub fn machines(&self) -> Result<Vec<i32>, String> {
        let mut count: c_int = 0;
        // SAFETY: it writes one integer, and then as many as it has said.
        unsafe {
            self.check((self.nvrtcGetNumSupportedArchs)(&raw mut count))?;
            let mut machines = vec![0; usize::try_from(count).unwrap_or(0)];
            self.check((self.nvrtcGetSupportedArchs)(machines.as_mut_ptr()))?;
            Ok(machines)
        }
    }

    /// Compiles a source.
    ///
    /// # Errors
    /// With the compiler's log, which names file and line.
    pub fn compile(&self, source: &str, options: &[String], output: Output) -> Result<Vec<u8>, String> {
        let text = |text: &str| CString::new(text).map_err(|error| error.to_string());
        let (source, options) =
            (text(source)?, options.iter().map(|option| text(option)).collect::<Result<Vec<_>, _>>()?);
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let none = std::ptr::null();
        let mut program = Program { functions: self, handle: std::ptr::null_mut() };
        let count = c_int::try_from(options.len()).unwrap_or(c_int::MAX);
        // SAFETY: all texts live until the end of this function, and the program as long as `program`.
        unsafe {
            let name = c"kernels.cu".as_ptr();
            self.check((self.nvrtcCreateProgram)(&raw mut program.handle, source.as_ptr(), name, 0, none, none))?;
            let status = (self.nvrtcCompileProgram)(program.handle, count, options.as_ptr());
            if let Err(error) = self.check(status) {
                return Err(format!("{error}\n{}", program.log()).trim_end().to_string());
            }
            let lacks = |name: &str| format!("it lacks the function {name}");
            let (size, get) = match output {
                Output::Cubin => (self.nvrtcGetCUBINSize, self.nvrtcGetCUBIN),
                Output::Ptx => (
                    self.nvrtcGetPTXSize.ok_or_else(|| lacks("nvrtcGetPTXSize"))?,
                    self.nvrtcGetPTX.ok_or_else(|| lacks("nvrtcGetPTX"))?,
                ),
            };
            let image = program.read(size, get)?;
            if image.is_empty() { Err("it has compiled without an error, but to nothing".into()) } else { Ok(image) }
        }
    }

    fn check(&self, status: Status) -> Result<(), String> {
        done(status).map_err(|status| words(self.nvrtcGetErrorString, status))
    }
}

struct Program<'a> {
    functions: &'a Nvrtc,
    handle: Handle,
}

type Size = unsafe extern "C" fn(Handle, *mut usize) -> Status;
type Get = unsafe extern "C" fn(Handle, *mut c_char) -> Status;

impl Program<'_> {
    /// The compiler's log.
    fn log(&self) -> String {
        let (Some(size), Some(get)) = (self.functions.nvrtcGetProgramLogSize, self.functions.nvrtcGetProgramLog) else {
            return String::new();
        };
        // SAFETY: the program lives.
        let log = unsafe { self.read(size, get) }.unwrap_or_default();
        let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).trim_end().to_string()
    }

    /// # Safety
    /// `size` and `get` are functions of this program's library that belong together.
    unsafe fn read(&self, size: Size, get: Get) -> Result<Vec<u8>, String> {
        let mut len = 0;
        // SAFETY: it writes as many bytes as it has said; the rest is the caller's promise.
        unsafe {
            self.functions.check(size(self.handle, &raw mut len))?;
            let mut bytes = vec![0_u8; len];
            if len > 0 {
                self.functions.check(get(self.handle, bytes.as_mut_ptr().cast()))?;
            }
            Ok(bytes)
        }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: it was made by the same library and is given back once. Nobody can do anything about a failure.
            let _ = unsafe { (self.functions.nvrtcDestroyProgram)(&raw mut self.handle) };
        }
    }
}
