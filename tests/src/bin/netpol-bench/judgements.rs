//! What endpoints are judged by, read from the kernel's table from outside.

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData};
use netpol_common::{Direction, tables::Endpoint};
use netpol_tests::Laboratory;

/// The table of endpoints that a laboratory's agent has pinned.
pub(crate) struct Judgements(Array<MapData, [u8; size_of::<Endpoint>()]>);

impl Judgements {
    pub(crate) fn open(lab: &Laboratory) -> Result<Self> {
        let path = lab.pins().join("maps/ENDPOINTS");
        let map = MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self(Array::try_from(Map::Array(map)).context("the table of endpoints is another")?))
    }

    /// What the ingress of the endpoints in these slots is judged by.
    pub(crate) fn of(&self, slots: &[u32]) -> Result<Vec<[u8; 8]>> {
        const { assert!(std::mem::offset_of!(Endpoint, judgements) == 0 && Direction::Ingress.index() == 0) };
        let each = slots.iter().map(|slot| {
            let endpoint = self.0.get(slot, 0)?;
            Ok(endpoint.first_chunk().copied().unwrap_or_default())
        });
        each.collect()
    }
}
