//! The real layer, on clips it makes itself.

mod support;

use support::{Film, Lab};

#[tokio::test]
async fn closed_groups() {
    let lab = Lab::new("closed");
    let film = Film::plain(&lab, &["-c:v", "libx264", "-g", "24", "-bf", "2", "-flags", "+cgop"]);
    lab.holds(&film, 3).await;
}
