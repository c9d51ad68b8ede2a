//! Walking through a slice row by row.
//!
//! The iterators of the standard library do the same, but ask for a row length that is not zero (and would
//! panic), and divide by it. These end where the rest is shorter than a row, or a row is empty.

/// Rows of `len` elements.
pub(crate) struct Rows<'a, T> {
    rest: &'a [T],
    len: usize,
}

/// Rows of `len` elements, to be written.
pub(crate) struct RowsMut<'a, T> {
    rest: &'a mut [T],
    len: usize,
}

/// The rows of `values`, `len` elements each.
pub(crate) fn each_row<T>(values: &[T], len: usize) -> Rows<'_, T> {
    Rows { rest: values, len }
}

/// The rows of `values`, `len` elements each, to be written.
pub(crate) fn each_row_mut<T>(values: &mut [T], len: usize) -> RowsMut<'_, T> {
    RowsMut { rest: values, len }
}

impl<'a, T> Iterator for Rows<'a, T> {
    type Item = &'a [T];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (row, rest) = self.rest.split_at_checked(self.len)?;
        self.rest = rest;
        if row.is_empty() { None } else { Some(row) }
    }

    /// In one stride instead of row by row.
    #[inline]
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.rest = self.rest.get(self.len.saturating_mul(n)..)?;
        self.next()
    }
}

impl<'a, T> Iterator for RowsMut<'a, T> {
    type Item = &'a mut [T];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // What is taken out is lost where it is shorter than a row: nobody asks again.
        let (row, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(self.len)?;
        self.rest = rest;
        if row.is_empty() { None } else { Some(row) }
    }
    /// In one stride instead of row by row.
    #[inline]
    fn nth(&mut self, n: usize) -> Option<Self::Item> {
        self.rest = core::mem::take(&mut self.rest).get_mut(self.len.saturating_mul(n)..)?;
        self.next()
    }
}
