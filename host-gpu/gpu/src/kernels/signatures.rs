//! The kernels' parameters, read from their source, so that a wrong launch is an error and not a crash on a device.

use super::super::executor::GpuError;
use super::super::op::Arg;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address on the device.
    Pointer,
    /// `int`.
    I32,
    /// `float`.
    F32,
    /// `unsigned long long`.
    U64,
}

/// One parameter of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its type, as in the source without qualifiers of the pointer itself.
    pub c_type: String,
    /// The same, as a launch sees it.
    pub kind: Kind,
}

/// Every kernel of [`super::source`] with its parameters, by name; or what is wrong with the source.
static KERNELS: LazyLock<Result<BTreeMap<String, Vec<Parameter>>, String>> = LazyLock::new(|| scan(&super::source()));

/// Every kernel with its parameters, by name.
///
/// # Errors
/// If a kernel of the source has a parameter of a type that no launch can give.
pub fn kernels() -> Result<&'static BTreeMap<String, Vec<Parameter>>, GpuError> {
    KERNELS.as_ref().map_err(|reason| GpuError::Failed { what: "reading the kernels".into(), reason: reason.clone() })
}

/// Compares a launch's arguments with the kernel's parameters, in number and kind.
///
/// # Errors
/// If there is no such kernel, or an argument is of another kind than its parameter.
pub fn check_arguments<P>(kernel: &str, args: &[Arg<P>]) -> Result<(), GpuError> {
    let failed = |reason: String| GpuError::Failed { what: format!("launch of {kernel}"), reason };
    let parameters = kernels()?.get(kernel).ok_or_else(|| failed("there is no such kernel".into()))?;
    if parameters.len() != args.len() {
        return Err(failed(format!("{} arguments for {} parameters", args.len(), parameters.len())));
    }
    for (index, (arg, parameter)) in args.iter().zip(parameters).enumerate() {
        let kind = match arg {
            Arg::In(..) | Arg::Out(..) | Arg::InOut(..) | Arg::Null => Kind::Pointer,
            Arg::I32(_) => Kind::I32,
            Arg::F32(_) => Kind::F32,
            Arg::U64(_) => Kind::U64,
        };
        if kind != parameter.kind {
            return Err(failed(format!("argument {index} is of kind {kind:?}, expected {}", parameter.c_type)));
        }
        if parameter.c_type.starts_with("const ") && matches!(arg, Arg::Out(..) | Arg::InOut(..)) {
            return Err(failed(format!("argument {index} is to be written, but is {}", parameter.c_type)));
        }
    }
    Ok(())
}

/// Finds every `__global__ void NAME(PARAMETERS)` of a source.
///
/// # Errors
/// In words, for a declaration that cannot be read.
pub fn scan(source: &str) -> Result<BTreeMap<String, Vec<Parameter>>, String> {
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let source = lines.collect::<Vec<_>>().join("\n");
    let mut found = BTreeMap::new();
    for rest in source.split("__global__").skip(1) {
        let header = without_bounds(rest.split('{').next().unwrap_or_default());
        let parts = header.trim().strip_prefix("void").and_then(|rest| rest.split_once('('));
        let (name, list) = parts.ok_or_else(|| format!("a kernel does not begin with `void NAME(`: {header}"))?;
        let (name, list) = (name.trim(), list.trim_end_matches(')'));
        let parameters: Result<Vec<_>, String> = list.split(',').map(parameter).collect();
        let parameters = parameters.map_err(|text| format!("{name} has a parameter of an unknown type: {text}"))?;
        if found.insert(name.to_owned(), parameters).is_some() {
            return Err(format!("two kernels are called {name}"));
        }
    }
    Ok(found)
}

/// Leaves out `__launch_bounds__(...)`.
fn without_bounds(text: &str) -> String {
    match text.split_once("__launch_bounds__") {
        Some((before, rest)) => before.to_owned() + rest.split_once(')').map_or(rest, |(_, rest)| rest),
        None => text.to_owned(),
    }
}

/// Reads one parameter, or gives back what cannot be read.
fn parameter(text: &str) -> Result<Parameter, String> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((pointed, _)) = words.rsplit_once('*') {
        return Ok(Parameter { c_type: format!("{}*", pointed.trim()), kind: Kind::Pointer });
    }
    let (c_type, _) = words.rsplit_once(' ').ok_or(&words)?;
    let kind = match c_type {
        "int" => Kind::I32,
        "float" => Kind::F32,
        "unsigned long long" => Kind::U64,
        _ => return Err(words),
    };
    Ok(Parameter { c_type: c_type.into(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_with_their_parameters() {
        let source = "struct x {};\nextern \"C\" __global__ void a(const map_t* __restrict__ z, // maps (rows, x)\n  \
                      float *p,\n int n) {\n}\nextern \"C\" __global__ void __launch_bounds__(256) b(unsigned long long n) {}";
        let found = scan(source).expect("two");
        let kinds = |name: &str| found[name].iter().map(|p| (p.c_type.as_str(), p.kind)).collect::<Vec<_>>();
        assert_eq!(kinds("a"), [("const map_t*", Kind::Pointer), ("float*", Kind::Pointer), ("int", Kind::I32)]);
        assert_eq!(kinds("b"), [("unsigned long long", Kind::U64)]);
        assert!(scan("__global__ void a(double x) {}").is_err());
        assert!(scan("__global__ void a(int x) {} __global__ void a(int x) {}").is_err());
    }

    #[test]
    fn a_wrong_launch_is_refused() {
        let n = Arg::U64(1);
        let good = [Arg::In(1_u64, 4), Arg::Out(2, 4), n];
        check_arguments("to_map", &good).expect("as declared");
        for bad in [vec![Arg::In(1, 4), n], vec![Arg::In(1, 4), Arg::Out(2, 4), Arg::I32(1)], vec![Arg::Out(1, 4); 3]] {
            assert!(check_arguments("to_map", &bad).is_err(), "{bad:?}");
        }
        assert!(check_arguments("to_map", &[Arg::Out(1, 4), Arg::Out(2, 4), n]).is_err(), "written, but const");
        assert!(check_arguments("nothing", &good).is_err());
    }
}
