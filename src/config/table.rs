//! Reading one section of the file: every value comes out typed or leaves a problem behind.
//!
//! A reader never stops at the first problem: it reports and yields `None`, and the section that
//! asked goes on with its other keys. Absent keys read as their default from `keys.rs`. Values of
//! secret keys, and values that came from the environment, reach no message.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ProblemKind, shown};
use super::keys::{Key, Shape};
use super::reading::{Reading, Written};
use super::substitute::{Place, Substituted, substitute};
use super::units::{ByteSize, UnitError, parse_duration};
use crate::name::{NameError, Secret, SinkName};

/// One section, and where it begins.
pub(super) struct Table<'a> {
    reading: &'a Reading<'a>,
    keys: &'static [Key],
    entries: Option<&'a DeTable<'a>>,
    /// The dotted path of this section, with its dot at the end.
    path: String,
    header: usize,
}

impl<'a> Table<'a> {
    /// The file itself.
    pub(super) fn root(
        reading: &'a Reading<'a>,
        keys: &'static [Key],
        all: &'a DeTable<'a>,
    ) -> Self {
        let table = Self { reading, keys, entries: Some(all), path: String::new(), header: 0 };
        table.refuse_unknown_keys();
        table
    }

    /// The inner section `name`; an absent one has only defaults.
    pub(super) fn section(&self, name: &'static str) -> Table<'a> {
        let key = self.key(name);
        let Shape::Section(keys) = key.shape else { unreachable!("{name} is a section") };
        let found = self.entry(name).and_then(|(_, value)| match value.get_ref() {
            DeValue::Table(entries) => Some((entries, value.span().start)),
            other => {
                self.wrong_type(key, "a table", other, value.span().start);
                None
            }
        });
        let table = Table {
            reading: self.reading,
            keys,
            entries: found.map(|(entries, _)| entries),
            path: format!("{}{name}.", self.path),
            header: found.map_or(self.header, |(_, at)| at),
        };
        table.refuse_unknown_keys();
        table
    }

    /// The tables of an array, each with its name in its path. Which keys a table may have can
    /// depend on its type, so the caller asks for the unknown ones.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Table<'a>> {
        let key = self.key(name);
        let Shape::Sections(keys) = key.shape else { unreachable!("{name} is a list of tables") };
        let Some((_, value)) = self.entry(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, "a list of tables", value.get_ref(), value.span().start);
            return Vec::new();
        };
        let table = |item: &'a Spanned<DeValue<'a>>| match item.get_ref() {
            DeValue::Table(entries) => {
                let label = entries.get("name").and_then(|name| name.get_ref().as_str());
                let label = label.filter(|label| SinkName::new(*label).is_ok());
                let path = label.map_or(format!("{name}."), |label| format!("{name}.{label}."));
                let header = item.span().start;
                Some(Table { reading: self.reading, keys, entries: Some(entries), path, header })
            }
            other => {
                self.wrong_type(key, "a table", other, item.span().start);
                None
            }
        };
        items.iter().filter_map(table).collect()
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        self.key(name);
        self.entry(name).is_some()
    }

    /// Whether the section is in the file at all.
    pub(super) fn is_written(&self) -> bool {
        self.entries.is_some()
    }

    /// Where the key `name` is written, or the section's head.
    pub(super) fn place_of(&self, name: &'static str) -> usize {
        self.entry(name).map_or(self.header, |(span, _)| span.start)
    }

    /// Report a problem with the key `name` where it is written, or at the section's head.
    pub(super) fn report(&self, name: &'static str, kind: ProblemKind) {
        let at = self.place_of(name);
        self.reading.report(at, format!("{}{name}", self.path), kind);
    }

    /// Report that `name` must be there.
    pub(super) fn report_missing(&self, name: &'static str) {
        let example = self.example(name);
        self.report(name, ProblemKind::Missing { example });
    }

    /// The key `name` and a value for it.
    pub(super) fn example(&self, name: &'static str) -> String {
        self.key(name).written()
    }

    pub(super) fn flag(&self, name: &'static str) -> Option<bool> {
        let key = self.key(name);
        let Some((_, value)) = self.entry(name) else {
            return key.default.map(|text| text == "true");
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                self.wrong_type(key, "true or false", other, value.span().start);
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn count(&self, name: &'static str) -> Option<Written<u64>> {
        const MAX: u64 = u32::MAX as u64;
        let key = self.key(name);
        let Some((_, value)) = self.entry(name) else {
            return key.default.and_then(|text| text.parse().ok()).map(|value| self.absent(value));
        };
        let DeValue::Integer(number) = value.get_ref() else {
            self.wrong_type(key, "a whole number", value.get_ref(), value.span().start);
            return None;
        };
        match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if count <= MAX => Some(self.written(count, value)),
            _ => {
                self.report(name, ProblemKind::Range { max: MAX });
                None
            }
        }
    }

    pub(super) fn text(&self, name: &'static str) -> Option<Written<String>> {
        let key = self.key(name);
        match self.entry(name) {
            Some((_, value)) => self.substituted(key, value),
            None => key.default.map(|text| self.absent(text.to_owned())),
        }
    }

    /// A secret given as `name`, or in the file that `name_file` names.
    pub(super) fn secret(&self, name: &'static str, file: &'static str) -> Option<Secret> {
        if self.has(name) && self.has(file) {
            self.report(name, ProblemKind::Either { other: file });
        }
        if let Some((_, _)) = self.entry(name) {
            return self.text(name).map(|text| Secret::new(text.value));
        }
        let path = self.path(file)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret::new(text.trim_end_matches(['\n', '\r']))),
            Err(error) => {
                self.report(file, ProblemKind::SecretFile { file: path, error });
                None
            }
        }
    }

    /// A path, relative ones from the config's own directory.
    pub(super) fn path(&self, name: &'static str) -> Option<PathBuf> {
        let text = self.text(name)?;
        if text.value.is_empty() {
            self.report(name, ProblemKind::Empty { example: self.key(name).written() });
            return None;
        }
        Some(self.reading.directory.join(text.value))
    }

    pub(super) fn name<T>(
        &self,
        name: &'static str,
        parse: fn(String) -> Result<T, NameError>,
    ) -> Option<Written<T>> {
        self.parse_name(name, self.text(name)?, parse)
    }

    fn parse_name<T>(
        &self,
        name: &'static str,
        text: Written<String>,
        parse: fn(String) -> Result<T, NameError>,
    ) -> Option<Written<T>> {
        let Written { value, at, from_environment } = text;
        let hidden = from_environment || shown(&value) == shown("@");
        match parse(value) {
            Ok(value) => Some(Written { value, at, from_environment }),
            Err(error) => {
                let (NameError::Empty { what }
                | NameError::TooLong { what, .. }
                | NameError::Character { what, .. }) = error;
                let kind = if hidden {
                    ProblemKind::HiddenName { what }
                } else {
                    ProblemKind::Name(error)
                };
                self.reading.report(at, format!("{}{name}", self.path), kind);
                None
            }
        }
    }

    /// Names, given as one text or as a list.
    pub(super) fn names<T>(
        &self,
        name: &'static str,
        parse: fn(String) -> Result<T, NameError>,
    ) -> Option<Vec<Written<T>>> {
        let texts = self.texts(name)?;
        let count = texts.len();
        let names: Vec<_> =
            texts.into_iter().filter_map(|text| self.parse_name(name, text, parse)).collect();
        (names.len() == count).then_some(names)
    }

    /// A list of texts without repetitions; one bare text where the key takes that.
    pub(super) fn texts(&self, name: &'static str) -> Option<Vec<Written<String>>> {
        let key = self.key(name);
        let Some((_, value)) = self.entry(name) else {
            return Some(
                key.default.map(|text| self.absent(text.to_owned())).into_iter().collect(),
            );
        };
        let items = match value.get_ref() {
            DeValue::Array(items) => items,
            DeValue::String(_) if matches!(key.shape, Shape::TextOrTexts) => {
                return self.substituted(key, value).map(|text| vec![text]);
            }
            other => {
                self.wrong_type(key, "a list of texts", other, value.span().start);
                return None;
            }
        };
        let mut texts: Vec<Written<String>> = Vec::new();
        for item in items.iter() {
            let text = self.substituted(key, item)?;
            if texts.iter().any(|earlier| earlier.value == text.value) {
                let found = self.shown(&text.value, text.from_environment);
                let path = format!("{}{name}", self.path);
                self.reading.report(text.at, path, ProblemKind::Twice { found });
            }
            texts.push(text);
        }
        Some(texts)
    }

    pub(super) fn bytes(&self, name: &'static str) -> Option<ByteSize> {
        if let Some((_, value)) = self.entry(name)
            && let DeValue::Integer(number) = value.get_ref()
        {
            let bytes = u64::from_str_radix(number.as_str(), number.radix()).ok();
            if bytes.is_none() {
                self.report(name, ProblemKind::Range { max: i64::MAX as u64 });
            }
            return self.more_than_zero(name, ByteSize::new(bytes?), ByteSize::new(0));
        }
        let size = self.unit(name, str::parse::<ByteSize>)?;
        self.more_than_zero(name, size, ByteSize::new(0))
    }

    pub(super) fn duration(&self, name: &'static str) -> Option<Duration> {
        self.unit(name, parse_duration)
    }

    pub(super) fn duration_above_zero(&self, name: &'static str) -> Option<Duration> {
        self.more_than_zero(name, self.duration(name)?, Duration::ZERO)
    }

    /// The same for a key without a default.
    pub(super) fn duration_above_zero_or_absent(&self, name: &'static str) -> Option<Duration> {
        self.has(name).then(|| self.duration_above_zero(name)).flatten()
    }

    /// Report unless `value` is above `zero`.
    pub(super) fn more_than_zero<T: PartialOrd>(
        &self,
        name: &'static str,
        value: T,
        zero: T,
    ) -> Option<T> {
        if value > zero {
            return Some(value);
        }
        self.report(name, ProblemKind::Zero { example: self.key(name).written() });
        None
    }

    /// A word of the key's list that this build takes. A later one is reported, and yielded too,
    /// for what other keys make of it.
    pub(super) fn word(&self, name: &'static str) -> Option<&'static str> {
        let key = self.key(name);
        let Shape::Word { now, later } = key.shape else { unreachable!("{name} takes words") };
        let Some((_, value)) = self.entry(name) else { return key.default };
        let text = self.substituted(key, value)?;
        if let Some(word) = now.iter().find(|word| **word == text.value) {
            return Some(word);
        }
        if let Some(word) = later.iter().copied().find(|word| *word == text.value) {
            self.report(name, ProblemKind::WordNotYet { word, available: now.to_vec() });
            return Some(word);
        }
        let allowed: Vec<_> = now.iter().chain(later).copied().collect();
        let near = nearest(&text.value, allowed.iter().copied());
        let found = self.shown(&text.value, text.from_environment);
        self.report(name, ProblemKind::UnknownWord { found, allowed, near });
        None
    }

    /// Refuse what this section does not know and what this build has no code for.
    pub(super) fn refuse_unknown_keys(&self) {
        for (written, _) in self.entries.into_iter().flat_map(|entries| entries.iter()) {
            let name: &str = written.get_ref();
            let kind = match self.keys.iter().find(|key| key.name == name) {
                Some(key) if key.later => ProblemKind::KeyNotYet,
                Some(_) => continue,
                None => match home_of(name, self.keys) {
                    Some(section) => ProblemKind::Misplaced { section },
                    None => ProblemKind::UnknownKey {
                        near: nearest(name, self.keys.iter().map(|key| key.name)),
                    },
                },
            };
            self.reading.report(written.span().start, format!("{}{name}", self.path), kind);
        }
    }

    fn unit<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, UnitError>,
    ) -> Option<T> {
        if let Some((_, value)) = self.entry(name)
            && let DeValue::Integer(number) = value.get_ref()
        {
            let unit = parse(number.as_str()).err()?;
            self.report(name, ProblemKind::Unit { found: number.as_str().to_owned(), unit });
            return None;
        }
        let text = self.text(name)?;
        parse(&text.value)
            .map_err(|unit| {
                let found = self.shown(&text.value, text.from_environment);
                self.report(name, ProblemKind::Unit { found, unit });
            })
            .ok()
    }

    /// A text with its variables replaced.
    fn substituted(&self, key: &Key, value: &Spanned<DeValue<'_>>) -> Option<Written<String>> {
        let DeValue::String(raw) = value.get_ref() else {
            self.wrong_type(key, "text", value.get_ref(), value.span().start);
            return None;
        };
        let place = if key.name == "url" { Place::Connection } else { Place::Plain };
        match substitute(raw, place, self.reading.environment) {
            Ok(Substituted { text: value_, from_environment }) => {
                Some(Written { value: value_, at: value.span().start, from_environment })
            }
            Err(error) => {
                let path = format!("{}{}", self.path, key.name);
                self.reading.report(value.span().start, path, ProblemKind::Substitute(error));
                None
            }
        }
    }

    fn wrong_type(&self, key: &Key, wanted: &'static str, found: &DeValue<'_>, at: usize) {
        let kind =
            ProblemKind::WrongType { wanted, found: found.type_str(), example: key.written() };
        self.reading.report(at, format!("{}{}", self.path, key.name), kind);
    }

    fn shown(&self, text: &str, from_environment: bool) -> String {
        if from_environment { "the value".to_owned() } else { shown(text) }
    }

    fn key(&self, name: &'static str) -> &'static Key {
        let found = self.keys.iter().find(|key| key.name == name);
        found.unwrap_or_else(|| unreachable!("{}{name} is in the list of keys", self.path))
    }

    fn entry(&self, name: &str) -> Option<(Range<usize>, &'a Spanned<DeValue<'a>>)> {
        self.entries?.get_key_value(name).map(|(key, value)| (key.span(), value))
    }

    fn absent<T>(&self, value: T) -> Written<T> {
        Written { value, at: self.header, from_environment: false }
    }

    fn written<T>(&self, value: T, place: &Spanned<DeValue<'_>>) -> Written<T> {
        Written { value, at: place.span().start, from_environment: false }
    }
}

/// The known word that looks most like `text`, if any does.
fn nearest(text: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let distance = |word| strsim::damerau_levenshtein(text, word);
    let near = known.min_by_key(|word| distance(word))?;
    (distance(near) <= (text.chars().count() / 3).max(1)).then_some(near)
}

/// The top-level section that has a key called `name`, when `here` is another one.
fn home_of(name: &str, here: &'static [Key]) -> Option<&'static str> {
    super::keys::ROOT.iter().find_map(|section| match section.shape {
        Shape::Section(keys) | Shape::Sections(keys) if !std::ptr::eq(keys, here) => {
            keys.iter().any(|key| key.name == name).then_some(section.name)
        }
        _ => None,
    })
}
