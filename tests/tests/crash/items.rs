//! Items: puts of new ones, and counters that only a conditional update moves.

use std::{collections::BTreeMap, fmt};

use aws_sdk_dynamodb::types::AttributeValue::{self, N, S};

use crate::{Clients, WRITERS, answered};

const TABLE: &str = "items";

#[derive(Default)]
pub struct Record {
    /// The newest acknowledged value by key. Values only rise.
    acknowledged: BTreeMap<String, u64>,
    /// What the counters were asked to be: no value can be above.
    asked: BTreeMap<String, u64>,
    writes: usize,
}

fn counter(writer: usize) -> String {
    format!("counter/{writer}")
}

/// Where the counters are now.
pub async fn counters(clients: &Clients) -> Vec<u64> {
    let mut all = Vec::new();
    for writer in 0..WRITERS {
        let get = clients.dynamodb.get_item().table_name(TABLE).key("pk", S(counter(writer))).consistent_read(true);
        all.push(get.send().await.unwrap().item.map_or(0, |item| value(&item["v"])));
    }
    all
}

fn value(of: &AttributeValue) -> u64 {
    of.as_n().unwrap().parse().unwrap()
}

pub async fn write(clients: Clients, mut at: u64, writer: usize, round: u64) -> Record {
    let mut record = Record::default();
    for n in 0_u64.. {
        let key = format!("once/{round}/{writer}/{n}");
        let put = clients.dynamodb.put_item().table_name(TABLE).item("pk", S(key.clone())).item("v", N(n.to_string()));
        if answered(put.send().await).is_none() {
            break;
        }
        record.acknowledged.insert(key, n);
        record.asked.insert(counter(writer), at + 1);
        let update = clients
            .dynamodb
            .update_item()
            .table_name(TABLE)
            .key("pk", S(counter(writer)))
            .update_expression("SET v = :next")
            .condition_expression("v = :now OR (attribute_not_exists(v) AND :now = :zero)")
            .expression_attribute_values(":next", N((at + 1).to_string()))
            .expression_attribute_values(":now", N(at.to_string()))
            .expression_attribute_values(":zero", N("0".into()));
        if answered(update.send().await).is_none() {
            break;
        }
        at += 1;
        record.acknowledged.insert(counter(writer), at);
        record.writes += 2;
    }
    record
}

impl Record {
    pub fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.asked.extend(other.asked);
        self.writes += other.writes;
    }

    pub async fn check(&self, clients: &Clients) {
        let mut found = BTreeMap::new();
        let mut items = clients.dynamodb.scan().table_name(TABLE).consistent_read(true).into_paginator().items().send();
        while let Some(item) = items.next().await {
            let item = item.unwrap();
            found.insert(item["pk"].as_s().unwrap().clone(), value(&item["v"]));
        }
        for (key, least) in &self.acknowledged {
            let value = found.get(key).unwrap_or_else(|| panic!("an acknowledged item is lost: {key}"));
            let most = self.asked.get(key).unwrap_or(least);
            assert!((least..=most).contains(&value), "{key} is {value}, acknowledged was {least}, asked for {most}");
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} writes of {} items", self.writes, self.acknowledged.len())
    }
}
