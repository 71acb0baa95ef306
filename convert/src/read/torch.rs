//! PyTorch state dicts, in both containers that `torch.save` has written.
//!
//! * The zip container (since PyTorch 1.6): `<stem>/data.pkl` and one entry `<stem>/data/<key>` per storage.
//! * The legacy container: the pickles magic number, protocol version, system information, object, list of storage
//!   keys, then per storage in that list's order an i64 count and the elements.
//!
//! Pickles are parsed by candle's stack machine, which builds a description and calls nothing; only
//! `torch._utils._rebuild_tensor_v2` and `_rebuild_parameter` over plain storages are understood.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
};

use bytes::Bytes;
use candle::pickle::{Object, Stack};
use zip::ZipArchive;

use super::pickle;
use crate::{
    error::{ConvertError, Result},
    source::{Dtype, SourceTensor},
};

/// The pickle of torch's magic number 0x1950a86a20f9469cfc6c: a fixed byte string, so it is compared as such.
const LEGACY_MAGIC: &[u8] = &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";

/// Reads the tensors of a state dict, sorted by name.
///
/// The tensors of the legacy container are parts of `bytes` as far as they are whole rows of their storage.
///
/// # Errors
/// [`ConvertError::Format`] for damage, objects that are not a flat dict of tensors, and big-endian files.
pub fn read(bytes: &Bytes) -> Result<Vec<SourceTensor>> {
    if bytes.starts_with(LEGACY_MAGIC) {
        read_legacy(&bytes.slice(LEGACY_MAGIC.len()..))
    } else if bytes.starts_with(ZIP_MAGIC) {
        read_zip(bytes)
    } else {
        Err(format("neither a zip container nor torch's legacy magic number"))
    }
}

fn read_legacy(bytes: &Bytes) -> Result<Vec<SourceTensor>> {
    let mut rest: &[u8] = bytes;
    let protocol = next_pickle(&mut rest)?;
    if protocol != Object::Int(1001) {
        return Err(format(format!("legacy protocol {protocol:?}, only 1001 is known")));
    }
    let Object::Dict(system) = next_pickle(&mut rest)? else {
        return Err(format("the system information is not a dict"));
    };
    if system.contains(&(Object::Unicode("little_endian".into()), Object::Bool(false))) {
        return Err(format("it was written on a big-endian machine"));
    }
    let views = state_dict(next_pickle(&mut rest)?)?;
    let Object::List(keys) = next_pickle(&mut rest)? else {
        return Err(format("the storage keys are not a list"));
    };
    let dtypes: HashMap<&str, Dtype> = views.iter().map(|v| (v.storage.as_str(), v.dtype)).collect();
    let mut storages = HashMap::new();
    for key in keys {
        let Object::Unicode(key) = key else { return Err(format("a storage key is not a string")) };
        let dtype = dtypes.get(key.as_str()).ok_or_else(|| format(format!("storage {key} belongs to no tensor")))?;
        let (count, after) = rest.split_first_chunk().ok_or_else(|| format("it ends before a storage"))?;
        let count = u64::from_le_bytes(*count);
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(dtype.size()));
        let Some((data, after)) = len.and_then(|len| after.split_at_checked(len)) else {
            return Err(format(format!("storage {key} of {count} elements is cut off")));
        };
        storages.insert(key, bytes.slice_ref(data));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(format(format!("{} bytes follow the last storage", rest.len())));
    }
    views.into_iter().map(|view| view.gather(&storages)).collect()
}

fn read_zip(bytes: &[u8]) -> Result<Vec<SourceTensor>> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format(e.to_string()))?;
    let names: Vec<String> = zip
        .file_names()
        .map(|name| name.map(|n| n.into_owned()))
        .collect::<Result<_, _>>()
        .map_err(|e| format(e.to_string()))?;
    let pickle = names.iter().find(|n| n.ends_with("/data.pkl")).ok_or_else(|| format("no data.pkl in the zip"))?;
    let stem = pickle.trim_end_matches("data.pkl").to_owned();
    let mut entry = |name: &str| -> Result<Vec<u8>> {
        let mut file = zip.by_name(name).map_err(|e| format(format!("{name}: {e}")))?;
        // torch stores, so an entry that is larger than the file is none of its own.
        if file.size() > bytes.len() as u64 {
            return Err(format(format!("{name} claims {} bytes, more than the whole file", file.size())));
        }
        let mut data = Vec::new();
        let limit = bytes.len() as u64 + 1;
        file.by_ref().take(limit).read_to_end(&mut data).map_err(|e| format(format!("{name}: {e}")))?;
        Ok(data)
    };
    let byte_order = format!("{stem}byteorder");
    if names.contains(&byte_order) && entry(&byte_order)? != b"little" {
        return Err(format("it was written on a big-endian machine"));
    }
    let pickle = entry(pickle)?;
    let views = state_dict(next_pickle(&mut pickle.as_slice())?)?;
    let mut storages = HashMap::new();
    for view in &views {
        if !storages.contains_key(&view.storage) {
            storages.insert(view.storage.clone(), entry(&format!("{stem}data/{}", view.storage))?.into());
        }
    }
    views.into_iter().map(|view| view.gather(&storages)).collect()
}

/// Parses one pickle and moves `rest` behind it.
fn next_pickle(rest: &mut &[u8]) -> Result<Object> {
    let (pickle, after) = rest.split_at(pickle::length(rest).map_err(format)?);
    let mut stack = Stack::empty();
    stack.read_loop(&mut &*pickle).map_err(|e| format(e.to_string()))?;
    *rest = after;
    stack.finalize().map_err(|e| format(e.to_string()))
}

/// A tensor as the pickle describes it: a strided view of a storage.
struct View {
    name: String,
    dtype: Dtype,
    storage: String,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
}

fn state_dict(object: Object) -> Result<Vec<View>> {
    // A dict that has attributes of its own (`_metadata` of nn.Module) comes wrapped or with them appended; candle's
    // machine appends them when the state is a dict.
    let Object::Dict(items) = object else { return Err(format("the object is not a dict")) };
    let mut views = Vec::new();
    for (key, value) in items {
        let Object::Unicode(name) = key else { return Err(format(format!("a key is {key:?}"))) };
        if name == "_metadata" {
            continue;
        }
        views.push(View::parse(&name, &value).ok_or_else(|| format(format!("{name} is not a plain tensor")))??);
    }
    // candle's machine gives the items of one batch last to first.
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

impl View {
    /// `None` if the object is not a call that makes a tensor.
    fn parse(name: &str, object: &Object) -> Option<Result<Self>> {
        let (function, args) = call(object)?;
        match (function, args) {
            ("_rebuild_parameter", [data, ..]) => Self::parse(name, data),
            ("_rebuild_tensor_v2", [Object::PersistentLoad(storage), offset, shape, stride, ..]) => {
                let Object::Tuple(storage) = storage.as_ref() else { return None };
                let [_, Object::Class { class_name, .. }, Object::Unicode(storage), ..] = storage.as_slice() else {
                    return None;
                };
                let dtype = match class_name.as_str() {
                    "FloatStorage" => Dtype::F32,
                    "HalfStorage" => Dtype::F16,
                    "IntStorage" => Dtype::I32,
                    "LongStorage" => Dtype::I64,
                    "DoubleStorage" => Dtype::Other("f64", 8),
                    "BFloat16Storage" => Dtype::Bf16,
                    "ByteStorage" => Dtype::Other("u8", 1),
                    "BoolStorage" => Dtype::Other("bool", 1),
                    other => return Some(Err(format(format!("{name} lies in a {other}")))),
                };
                let view = Self {
                    name: name.to_owned(),
                    dtype,
                    storage: storage.clone(),
                    offset: size(offset)?,
                    shape: sizes(shape)?,
                    stride: sizes(stride)?,
                };
                (view.shape.len() == view.stride.len()).then_some(Ok(view))
            }
            _ => None,
        }
    }

    /// The view's elements, row-major: a part of the storage if they lie so in it, else a copy.
    fn gather(self, storages: &HashMap<String, Bytes>) -> Result<SourceTensor> {
        let Self { name, dtype, storage, offset, shape, stride } = self;
        let outside = || format(format!("{name} reaches outside of storage {storage}"));
        let data = storages.get(&storage).ok_or_else(outside)?;
        let size = dtype.size();
        let available = data.len() / size;
        let count = shape.iter().try_fold(1usize, |n, axis| n.checked_mul(*axis)).ok_or_else(outside)?;
        let last = shape
            .iter()
            .zip(&stride)
            .try_fold(offset, |at, (n, step)| n.saturating_sub(1).checked_mul(*step)?.checked_add(at));
        // A stride of 0 could make a small storage claim a huge tensor.
        if count > 0 && (count > available || last.is_none_or(|last| last >= available)) {
            return Err(outside());
        }
        if count > 0 && is_row_major(&shape, &stride) {
            return Ok(SourceTensor { name, shape, dtype, data: data.slice(offset * size..(offset + count) * size) });
        }
        let mut gathered = Vec::with_capacity(count * size);
        let mut index = vec![0usize; shape.len()];
        for _ in 0..count {
            let at = offset + index.iter().zip(&stride).map(|(i, step)| i * step).sum::<usize>();
            gathered.extend_from_slice(&data[at * size..][..size]);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Ok(SourceTensor { name, shape, dtype, data: gathered.into() })
    }
}

/// Whether the elements lie one behind the other; no axis is empty.
fn is_row_major(shape: &[usize], stride: &[usize]) -> bool {
    let mut step = 1;
    shape.iter().zip(stride).rev().all(|(n, stride)| {
        let fits = *n == 1 || *stride == step;
        step *= n;
        fits
    })
}

/// A call into `torch._utils` with its arguments.
fn call(object: &Object) -> Option<(&str, &[Object])> {
    let Object::Reduce { callable, args } = object else { return None };
    match (callable.as_ref(), args.as_ref()) {
        (Object::Class { module_name, class_name }, Object::Tuple(args)) if module_name == "torch._utils" => {
            Some((class_name, args))
        }
        _ => None,
    }
}

fn size(object: &Object) -> Option<usize> {
    match object {
        Object::Int(n) => usize::try_from(*n).ok(),
        Object::Long(n) => usize::try_from(*n).ok(),
        _ => None,
    }
}

fn sizes(object: &Object) -> Option<Vec<usize>> {
    let Object::Tuple(items) = object else { return None };
    items.iter().map(size).collect()
}

fn format(reason: impl Into<String>) -> ConvertError {
    ConvertError::Format { format: "PyTorch", reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn text(s: &str) -> Vec<u8> {
        [b"X".as_slice(), &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat()
    }

    fn ints(values: &[u8]) -> Vec<u8> {
        [b"(".as_slice(), &values.iter().flat_map(|v| [b'K', *v]).collect::<Vec<_>>(), b"t"].concat()
    }

    /// `_rebuild_tensor_v2` over a storage of `count` f32 called `key`.
    fn tensor(key: &str, count: u8, offset: u8, shape: &[u8], stride: &[u8]) -> Vec<u8> {
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((".as_slice(),
            &text("storage"),
            b"ctorch\nFloatStorage\n",
            &text(key),
            &text("cpu"),
            &[b'K', count],
            b"tQ",
            &[b'K', offset],
            &ints(shape),
            &ints(stride),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
        .concat()
    }

    /// `{"w": transposed [3, 2] view, "b": [2]}` over the storages "7" (6 elements) and "8" (3 elements).
    fn object() -> Vec<u8> {
        let w = tensor("7", 6, 0, &[3, 2], &[1, 3]);
        let b = tensor("8", 3, 1, &[2], &[1]);
        [b"\x80\x02ccollections\nOrderedDict\n)R(".as_slice(), &text("w"), &w, &text("b"), &b, b"u."].concat()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    const STORAGE_7: [f32; 6] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    const STORAGE_8: [f32; 3] = [10.0, 11.0, 12.0];

    fn legacy() -> Vec<u8> {
        let keys = [b"\x80\x02](".as_slice(), &text("7"), &text("8"), b"e."].concat();
        let system = [b"\x80\x02}(".as_slice(), &text("little_endian"), b"\x88u."].concat();
        [
            LEGACY_MAGIC,
            b"\x80\x02M\xe9\x03.",
            &system,
            &object(),
            &keys,
            &6u64.to_le_bytes(),
            &f32s(&STORAGE_7),
            &3u64.to_le_bytes(),
            &f32s(&STORAGE_8),
        ]
        .concat()
    }

    fn zipped() -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        for (name, data) in [("m/data.pkl", object()), ("m/data/7", f32s(&STORAGE_7)), ("m/data/8", f32s(&STORAGE_8))] {
            zip.start_file(name, options).unwrap();
            zip.write_all(&data).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn expected() -> Vec<SourceTensor> {
        let tensor = |name: &str, shape: &[usize], values: &[f32]| SourceTensor {
            name: name.into(),
            shape: shape.to_vec(),
            dtype: Dtype::F32,
            data: f32s(values).into(),
        };
        vec![tensor("b", &[2], &[11.0, 12.0]), tensor("w", &[3, 2], &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0])]
    }

    #[test]
    fn reads_the_legacy_container_with_strides_and_offsets() {
        assert_eq!(read(&legacy().into()).unwrap(), expected());
    }

    #[test]
    fn reads_the_zip_container() {
        assert_eq!(read(&zipped().into()).unwrap(), expected());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for file in [legacy(), zipped()] {
            let file = Bytes::from(file);
            for len in 0..file.len() {
                assert!(matches!(read(&file.slice(..len)), Err(ConvertError::Format { .. })), "cut at {len}");
            }
        }
    }

    #[test]
    fn any_flipped_byte_is_survived() {
        let whole = legacy();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            // Only that it returns matters: a flipped weight is still a weight.
            let _ = read(&bytes.into());
        }
    }

    #[test]
    fn a_view_outside_of_its_storage_is_an_error() {
        let views = [b"\x80\x02}".as_slice(), &text("w"), &tensor("7", 6, 1, &[3, 2], &[1, 3]), b"s."].concat();
        let views = state_dict(next_pickle(&mut views.as_slice()).unwrap()).unwrap();
        let storages = HashMap::from([("7".to_owned(), f32s(&STORAGE_7).into())]);
        let error = views.into_iter().next().unwrap().gather(&storages).unwrap_err();
        assert!(error.to_string().contains("w reaches outside of storage 7"), "{error}");
    }

    #[test]
    fn other_calls_are_refused() {
        let pickle = b"\x80\x02}X\x01\0\0\0wcos\nsystem\n)Rs.";
        let error = state_dict(next_pickle(&mut pickle.as_slice()).unwrap()).err().unwrap();
        assert!(error.to_string().contains("w is not a plain tensor"), "{error}");
    }

    #[test]
    fn a_pickle_that_would_fill_the_memory_or_the_stack_is_refused() {
        let doubling = [b"N".as_slice(), &b"q\x00h\x00\x86".repeat(60), b"."].concat();
        let deep = [b"N".as_slice(), &[0x85].repeat(2_000_000), b"."].concat();
        for object in [doubling, deep] {
            let file = [LEGACY_MAGIC, b"\x80\x02M\xe9\x03.", &object].concat();
            assert!(matches!(read(&file.into()), Err(ConvertError::Format { .. })));
        }
    }
}
