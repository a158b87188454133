//! Names on the wire.

use serde_json::{Value, json};

use super::support::data;
use crate::celery::WireSettings;

fn settings(value: serde_json::Value) -> WireSettings {
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_defaults_are_the_names_that_were_measured() {
    let wire = settings(json!({}));
    assert_eq!(wire, WireSettings::default());
    assert_eq!(wire.event_exchange, "celeryev");
    assert_eq!(wire.event_pattern(0), "/0.celeryev/*");
    assert_eq!(wire.event_channel(3, "worker.online"), "/3.celeryev/worker.online");
    assert_eq!(wire.control_exchange(), "celery.pidbox");
    assert_eq!(wire.control_channel(0), "/0.celery.pidbox");
    assert_eq!(wire.reply_exchange(), "reply.celery.pidbox");
    assert_eq!(wire.mailbox("sms@host1"), "sms@host1.celery.pidbox");
    assert_eq!(wire.reply_queue("oid"), "oid.reply.celery.pidbox");
    assert_eq!(wire.reply_list("oid"), "oid.reply.celery.pidbox");
    assert_eq!(wire.reply_binding_key(), "_kombu.binding.reply.celery.pidbox");
    assert_eq!(
        wire.reply_binding_member("oid"),
        "oid\x06\x16\x06\x16oid.reply.celery.pidbox"
    );
    assert_eq!(
        wire.queue_lists("sms"),
        ["sms", "sms\x06\x163", "sms\x06\x166", "sms\x06\x169"]
    );
    assert_eq!(wire.event_queue("x"), "celeryev.x");
}

/// The global prefix stands before every key and channel, and in no member.
#[test]
fn every_setting_has_its_effect() {
    let wire = settings(json!({
        "event_exchange": "ev", "event_queue_prefix": "q", "control_exchange": "ctl", "global_keyprefix": "app[1]*:",
        "priority_steps": [0, 5], "sep": ":",
    }));
    assert_eq!(wire.event_pattern(1), "app\\[1\\]\\*:/1.ev/*");
    assert_eq!(wire.event_channel(1, "task.sent"), "app[1]*:/1.ev/task.sent");
    assert_eq!(wire.control_channel(1), "app[1]*:/1.ctl.pidbox");
    assert_eq!(wire.reply_binding_key(), "app[1]*:_kombu.binding.reply.ctl.pidbox");
    assert_eq!(wire.reply_binding_member("o"), "o::o.reply.ctl.pidbox");
    assert_eq!(wire.reply_list("o"), "app[1]*:o.reply.ctl.pidbox");
    assert_eq!(wire.queue_lists("sms"), ["app[1]*:sms", "app[1]*:sms:5"]);
    assert_eq!(wire.event_queue("x"), "q.x");

    let bare = settings(json!({"fanout_prefix": false, "fanout_patterns": false}));
    assert_eq!(bare.event_pattern(2), "celeryev");
    assert_eq!(bare.event_channel(2, "worker.online"), "celeryev");
    assert_eq!(bare.control_channel(2), "celery.pidbox");

    let old_sentinel = settings(json!({"fanout_prefix": "/{{db}}."}));
    assert_eq!(old_sentinel.control_channel(2), "/{db}.celery.pidbox");
    let custom = settings(json!({"fanout_prefix": "/v{{{db}}}."}));
    assert_eq!(custom.event_channel(2, "worker.online"), "/v{2}.celeryev/worker.online");
}

#[test]
fn wrong_settings_are_refused() {
    for (value, expected) in [
        (json!({"fanout_prefix": "/{db."}), "no other braces than {db}"),
        (json!({"fanout_prefix": "/{x}."}), "no other braces than {db}"),
        (json!({"fanout_prefix": 1}), "expected true, false, or a prefix"),
        (json!({"priority_steps": []}), "expected at least one step"),
        (json!({"event_exchang": "x"}), "unknown field `event_exchang`"),
    ] {
        let error = serde_json::from_value::<WireSettings>(value).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn as_kombu_names_them() {
    let table: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(data("wire_names.json")).unwrap()).unwrap();
    assert_eq!(table.len(), 7);
    for row in table {
        let wire = settings(row["settings"].clone());
        let db = u32::try_from(row["db"].as_u64().unwrap()).unwrap();
        let oid = row["oid"].as_str().unwrap();
        let ours = json!({
            "control_exchange": wire.control_exchange(),
            "reply_exchange": wire.reply_exchange(),
            "mailbox": wire.mailbox("sms@host1"),
            "event_channel": wire.event_channel(db, "worker.heartbeat"),
            "event_pattern": wire.event_pattern(db),
            "control_channel": wire.control_channel(db),
            "reply_binding_key": wire.reply_binding_key(),
            "reply_binding_member": wire.reply_binding_member(oid),
            "reply_list": wire.reply_list(oid),
            "queue_lists": wire.queue_lists("sms"),
        });
        assert_eq!(ours, row["names"], "{}", row["settings"]);
    }
}
