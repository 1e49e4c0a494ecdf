//! Filed records as the engine reads them: checked, typed, with the revision that a change of them builds on.

use keyreeve_model::filed::{FiledRecord, RowId, open_filed, unfile};
use keyreeve_model::record::{RecordSealer, Revision};
use keyreeve_model::{Change, Name, UnixMillis};
use keyreeve_store::{Page, Store};

use crate::core::Core;
use crate::error::Error;
use crate::sealing::Opened;

/// Rows read at a time.
const PAGE: u32 = 1000;

/// Goes through all records of a kind, or all of one parent, by their ids.
pub(crate) async fn each_filed<R: FiledRecord>(
    store: &dyn Store,
    sealer: &dyn RecordSealer,
    parent: Option<&str>,
    mut each: impl FnMut(R, Revision) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let rows = store.filed_page(R::TABLE, parent, Page { after, limit: PAGE }).await?;
        for row in &rows {
            let (record, revision) = open_filed(sealer, row)?;
            each(record, revision)?;
        }
        after = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.id.clone());
        if after.is_none() {
            return Ok(());
        }
    }
}

impl Core {
    /// One record, if it is there.
    pub(crate) async fn filed<R: FiledRecord>(
        &self,
        opened: &Opened,
        id: impl Into<RowId>,
    ) -> Result<Option<(R, Revision)>, Error> {
        let row = self.ports.store.filed(R::TABLE, &id.into()).await?;
        Ok(row.map(|row| open_filed(&opened.keys, &row)).transpose()?)
    }

    /// A page of records by id, all of them or those of one parent, and where the next page begins.
    pub(crate) async fn filed_page<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<(Vec<(R, Revision)>, Option<RowId>), Error> {
        let limit = page.limit as usize;
        let rows = self.ports.store.filed_page(R::TABLE, parent, page).await?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.clone());
        let records = rows.iter().map(|row| open_filed(&opened.keys, row)).collect::<Result<_, _>>()?;
        Ok((records, next))
    }

    /// All records, or all of one parent.
    pub(crate) async fn filed_all<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: Option<&str>,
    ) -> Result<Vec<(R, Revision)>, Error> {
        let mut all = Vec::new();
        let keep = |record, revision| {
            all.push((record, revision));
            Ok(())
        };
        each_filed(&*self.ports.store, &*opened.keys, parent, keep).await?;
        Ok(all)
    }

    /// What removes all records of one parent.
    pub(crate) async fn unfile_all<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: &Name,
    ) -> Result<Vec<Change>, Error> {
        let all = self.filed_all::<R>(opened, Some(parent.as_str())).await?;
        Ok(all.iter().map(|(record, revision)| unfile(*revision, record)).collect())
    }

    /// Records that are due at `before` or were earlier, soonest first; at most `limit`.
    pub(crate) async fn filed_due<R: FiledRecord>(
        &self,
        opened: &Opened,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(R, Revision)>, Error> {
        let rows = self.ports.store.filed_due(R::TABLE, before, limit).await?;
        Ok(rows.iter().map(|row| open_filed(&opened.keys, row)).collect::<Result<_, _>>()?)
    }
}
