//! Loads every program once, so that a kernel's verifier has seen it; pins nothing, attaches nothing.

use std::{
    collections::HashSet,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Map, MapData},
};
use netpol_common::flow::{Timeouts, table::Hashing};

use super::{Error, Reports, Sizes, attach::ENTRY, gate, object, sys};

/// What the verifier and the compiler in the kernel made of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The program.
    pub name: String,
    /// Instructions that the verifier walked.
    pub instructions: u32,
    /// Bytes of stack of the program and of each of its functions, with a plus between them.
    pub stack: String,
    /// Bytes of machine code; 0 where the kernel interprets it.
    pub machine: u32,
}

/// Loads all programs.
///
/// # Errors
///
/// The first program that the kernel refuses, with the verifier's words.
pub fn verify_programs() -> Result<Vec<Verified>, Error> {
    let mut object = object::load(
        None,
        &Sizes::small(),
        &object::Constants {
            timeouts: Timeouts::DEFAULT,
            hashing: Hashing { secret: [0; 5], mask: 0, reserved: 0 },
            reports: Reports::All,
        },
    )?;
    let mut verified = Vec::new();
    for name in object::PROGRAMS.into_iter().chain([object::CLOCK]) {
        load(&mut object, name)?;
        verified.push(sums(object::CLASSIFIERS, &object, name)?);
    }
    let mut loader = EbpfLoader::new();
    let mut entry = loader.load(object::ENTRY).map_err(|source| Error::Load { source })?;
    load(&mut entry, ENTRY)?;
    verified.push(sums(object::ENTRY, &entry, ENTRY)?);
    verified.push(sums(object::GATE, &gate::load(&mut loader)?, gate::PROGRAM)?);
    Ok(verified)
}

fn load(object: &mut Ebpf, name: &str) -> Result<(), Error> {
    let program = object::program(object, name)?;
    program.load().map_err(|source| Error::Program { name: name.to_owned(), source })
}

/// What the verifier says of a program that it has let in, over the maps of its object.
fn sums(bytes: &[u8], loaded: &Ebpf, name: &str) -> Result<Verified, Error> {
    let missing = || Error::Missing { what: "program", name: name.to_owned() };
    let failed = |source| Error::Sums { name: name.to_owned(), source };
    let unlinked = |source| Error::Load { source: EbpfError::RelocationError(source) };
    let mut object = aya_obj::Object::parse(bytes).map_err(|source| Error::Parse { source })?;
    // By them the verifier knows functions that it may verify apart from the program.
    let features = aya::features().btf().ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
    let types = object
        .fixup_and_sanitize_btf(features)
        .map_err(|source| Error::Load { source: EbpfError::BtfError(source) })?
        .ok_or_else(missing)?;
    let types = sys::load_types(&types.to_bytes()).map_err(failed)?;
    let maps: Vec<_> = std::mem::take(&mut object.maps)
        .into_iter()
        .filter_map(|(name, map)| {
            let fd = data(loaded.map(&name)?)?.fd().as_fd().as_raw_fd();
            Some((name, fd, map))
        })
        .collect();
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let known = maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map));
    object.relocate_maps(known, &sections).map_err(unlinked)?;
    object.relocate_calls(&sections).map_err(unlinked)?;
    let program = object.programs.get(name).ok_or_else(missing)?;
    let function = object.functions.get(&program.function_key()).ok_or_else(missing)?;
    let (said, machine) = sys::verifier_sums(program, function, types.as_fd()).map_err(failed)?;
    let behind = |words: &str| said.lines().find_map(|line| line.strip_prefix(words)).unwrap_or_default();
    Ok(Verified {
        name: name.to_owned(),
        instructions: behind("processed ")
            .split(' ')
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(0),
        stack: behind("stack depth ").to_owned(),
        machine,
    })
}

/// A map of one of the kinds that the objects have.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::ProgramArray(data) => Some(data),
        _ => None,
    }
}
