//! Filed records as the engine reads them: checked, typed, with the revision that a change of them builds on.

use keyreeve_model::filed::{FiledRecord, RowId, open_filed, unfile};
use keyreeve_model::quarantine::Place;
use keyreeve_model::record::Revision;
use keyreeve_model::{Change, FiledRow, Name, UnixMillis};
use keyreeve_store::Page;

use crate::core::Core;
use crate::error::Error;
use crate::sealing::Opened;

/// Rows read at a time.
const PAGE: u32 = 1000;

impl Core {
    /// One record, if it is there.
    pub(crate) async fn filed<R: FiledRecord>(
        &self,
        opened: &Opened,
        id: impl Into<RowId>,
    ) -> Result<Option<(R, Revision)>, Error> {
        let id = id.into();
        match self.ports.store.filed(R::TABLE, &id).await? {
            Some(row) => self.open_row(opened, &row).map(Some),
            None => Ok(None),
        }
    }

    /// A row that opens and is not in quarantine.
    fn open_row<R: FiledRecord>(&self, opened: &Opened, row: &FiledRow) -> Result<(R, Revision), Error> {
        opened.access().quarantined().refuse(R::TABLE, row.id.as_bytes())?;
        let record = open_filed(&opened.keys, row).map_err(Error::from);
        self.note_if_damaged(|| Place::row(R::TABLE, row.id.as_bytes()), record)
    }

    /// Those of the rows that open and are not in quarantine.
    fn sound<R: FiledRecord>(&self, opened: &Opened, rows: &[FiledRow]) -> Result<Vec<(R, Revision)>, Error> {
        let access = opened.access();
        let source = self.source(opened, access.quarantined());
        let each = rows.iter().map(|row| source.sound_filed(row));
        Ok(each.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// A page of records by id, all of them or those of one parent, and where the next page begins. What is damaged is
    /// left out: this is for showing, and for what is done with each by itself. Where it matters that nothing is
    /// missing, [`Core::filed_all`] tells.
    pub(crate) async fn filed_page<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: Option<&str>,
        page: Page<RowId>,
    ) -> Result<(Vec<(R, Revision)>, Option<RowId>), Error> {
        let limit = page.limit as usize;
        let rows = self.ports.store.filed_page(R::TABLE, parent, page).await?;
        let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.clone());
        Ok((self.sound(opened, &rows)?, next))
    }

    /// All records, or all of one parent.
    ///
    /// # Errors
    /// [`Code::Tampered`](crate::Code::Tampered) or [`Code::Quarantined`](crate::Code::Quarantined) when one of them is
    /// damaged: what is decided by all of them is not decided without it.
    pub(crate) async fn filed_all<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: Option<&str>,
    ) -> Result<Vec<(R, Revision)>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let rows = self.ports.store.filed_page(R::TABLE, parent, Page { after, limit: PAGE }).await?;
            for row in &rows {
                all.push(self.open_row(opened, row)?);
            }
            after = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.id.clone());
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// All records that are not damaged, or all of one parent: for what is done with each by itself.
    pub(crate) async fn filed_sound<R: FiledRecord>(
        &self,
        opened: &Opened,
        parent: Option<&str>,
    ) -> Result<Vec<(R, Revision)>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (records, next) = self.filed_page(opened, parent, Page { after, limit: PAGE }).await?;
            all.extend(records);
            after = next;
            if after.is_none() {
                return Ok(all);
            }
        }
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

    /// Records that are due at `before` or were earlier, soonest first; at most `limit`. What is damaged is left out,
    /// and takes nobody's place.
    pub(crate) async fn filed_due<R: FiledRecord>(
        &self,
        opened: &Opened,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(R, Revision)>, Error> {
        let rows = self.ports.store.filed_due(R::TABLE, before, limit).await?;
        let sound = self.sound(opened, &rows)?;
        if sound.len() == rows.len() || rows.len() < limit as usize {
            return Ok(sound);
        }
        let rows = self.ports.store.filed_due(R::TABLE, before, PAGE).await?;
        let mut sound = self.sound(opened, &rows)?;
        sound.truncate(limit as usize);
        Ok(sound)
    }
}
