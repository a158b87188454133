//! The one line of plain text that a phone shows.

use super::notice::Notice;

/// See [`Notice::text`].
pub(super) fn line(notice: &Notice) -> String {
    format!("{} {}", notice.incident.severity.headline(), notice.incident.subject)
}
