//! Loads every program once, so that a kernel's verifier has seen it; pins nothing, attaches nothing.

use aya::{
    EbpfLoader,
    programs::{ProgramError, ProgramInfo, SchedClassifier},
};

use netpol_common::flow::{Timeouts, table::Hashing};

use super::{Error, Reports, Sizes, attach::ENTRY, gate, object};

/// What the verifier said of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The program.
    pub name: String,
    /// Instructions that the verifier walked; 0 where the kernel does not say (before 5.16).
    pub instructions: u32,
    /// Bytes of translated code.
    pub bytes: u32,
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
        verified.push(verify(&mut object, name)?);
    }
    let mut loader = EbpfLoader::new();
    let mut entry = loader.load(object::ENTRY).map_err(|source| Error::Load { source })?;
    verified.push(verify(&mut entry, ENTRY)?);
    let mut object = gate::load(&mut loader)?;
    verified.push(verified_as(gate::PROGRAM, gate::program(&mut object)?.info())?);
    Ok(verified)
}

fn verify(object: &mut aya::Ebpf, name: &str) -> Result<Verified, Error> {
    let program = object::program(object, name)?;
    let failed = |source| Error::Program { name: name.to_owned(), source };
    program.load().map_err(failed)?;
    verified_as(name, SchedClassifier::info(program))
}

fn verified_as(name: &str, info: Result<ProgramInfo, ProgramError>) -> Result<Verified, Error> {
    let info = info.map_err(|source| Error::Program { name: name.to_owned(), source })?;
    Ok(Verified {
        name: name.to_owned(),
        instructions: info.verified_instruction_count().unwrap_or(0),
        bytes: info.size_translated().unwrap_or(0),
    })
}
