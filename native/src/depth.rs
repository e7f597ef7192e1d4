//! How long and how deep an expression may be: what reads, plans and computes it calls
//! itself for each level.

use std::mem;

use lance::deps::datafusion::sql::sqlparser::keywords::Keyword;
use lance::deps::datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::{invalid, Result};
use crate::tokens::tokens;

/// The most words of an expression: a list of a hundred thousand values and more.
const MAX_TOKENS: usize = 1 << 19;

/// How deep an expression may be, where ANDs or ORs in a row, which are put into a
/// balanced tree, count as the depth of that.
const MAX_DEPTH: usize = 1024;

/// How deep it may be as it is written: the most ANDs and ORs in a row.
const MAX_CHAIN: usize = 20_000;

/// What reading an expression takes of the stack, at most: in all, for each level that
/// is written and for each that is planned.
const STACK_BYTES: usize = 1 << 20;
const STACK_BYTES_WRITTEN: usize = 1 << 10;
const STACK_BYTES_PLANNED: usize = 48 << 10;

/// How deep an expression is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// As it is written.
    written: usize,
    /// With ANDs and ORs in a row in a balanced tree.
    planned: usize,
}

impl Depth {
    /// Whether most of what is asked is deeper than it.
    pub fn is_shallow(self) -> bool {
        self.planned <= 64
    }

    /// What reading, planning and computing it takes of the stack, at most.
    pub fn stack_bytes(self) -> usize {
        STACK_BYTES + self.written * STACK_BYTES_WRITTEN + self.planned * STACK_BYTES_PLANNED
    }

    fn max(self, other: Self) -> Self {
        Self {
            written: self.written.max(other.written),
            planned: self.planned.max(other.planned),
        }
    }

    fn plus(self, operators: usize) -> Self {
        Self {
            written: self.written + operators,
            planned: self.planned + operators,
        }
    }
}

/// How deep the tree of an expression can be at most, and an error if that is too
/// deep to be read. Nothing here calls itself.
pub fn depth(sql: &str) -> Result<Depth> {
    bounded(&tokens(sql, false)?)
}

/// How deep the tree of these words can be, and an error if that is too deep.
pub fn bounded(tokens: &[TokenWithSpan]) -> Result<Depth> {
    let words = tokens.iter().filter(|t| !is_space(&t.token)).count();
    if words > MAX_TOKENS {
        return Err(invalid(format!(
            "the expression has {words} words, at most {MAX_TOKENS} are read"
        )));
    }
    let depth = depth_of(tokens);
    if depth.planned > MAX_DEPTH {
        return Err(invalid(format!(
            "the expression is {} operators deep, at most {MAX_DEPTH} are read",
            depth.planned
        )));
    }
    if depth.written > MAX_CHAIN {
        return Err(invalid(format!(
            "the expression has {} ANDs and ORs in a row, at most {MAX_CHAIN} are read",
            depth.written
        )));
    }
    Ok(depth)
}

fn is_space(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_) | Token::EOF)
}

/// What is between two brackets, or between CASE and END.
#[derive(Default)]
struct Level {
    is_case: bool,
    /// ANDs and ORs of the item, which a comma ends.
    logical: usize,
    /// Other operators since the last AND or OR, and the deepest bracket since.
    operators: usize,
    brackets: Depth,
    /// The deepest part between ANDs and ORs so far, and the deepest item.
    part: Depth,
    item: Depth,
}

impl Level {
    fn end_part(&mut self) {
        let part = self.brackets.plus(mem::take(&mut self.operators));
        self.part = self.part.max(part);
        self.brackets = Depth::default();
    }

    fn end_item(&mut self) {
        self.end_part();
        let logical = mem::take(&mut self.logical);
        let balanced = (usize::BITS - logical.leading_zeros()) as usize;
        let part = mem::take(&mut self.part);
        self.item = self.item.max(Depth {
            written: part.written + logical,
            planned: part.planned + balanced,
        });
    }
}

fn depth_of(tokens: &[TokenWithSpan]) -> Depth {
    let mut levels = vec![Level::default()];
    for token in tokens {
        let Some(level) = levels.last_mut() else {
            break;
        };
        match &token.token {
            Token::LParen | Token::LBrace => levels.push(Level::default()),
            Token::LBracket => {
                level.operators += 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBrace | Token::RBracket => {
                while levels.last().is_some_and(|level| level.is_case) {
                    close(&mut levels);
                }
                close(&mut levels);
            }
            Token::Comma => level.end_item(),
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                Keyword::AND | Keyword::OR => {
                    level.end_part();
                    level.logical += 1;
                }
                Keyword::CASE => levels.push(Level {
                    is_case: true,
                    ..Level::default()
                }),
                Keyword::END if level.is_case => close(&mut levels),
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE if level.is_case => level.end_item(),
                keyword if is_operator(keyword) => level.operators += 1,
                _ => {}
            },
            token if is_value(token) => {}
            _ => level.operators += 1,
        }
    }
    while levels.len() > 1 {
        close(&mut levels);
    }
    levels.pop().map_or(Depth::default(), |mut level| {
        level.end_item();
        level.item.plus(1)
    })
}

/// Ends the innermost level, unless it is the outermost.
fn close(levels: &mut Vec<Level>) {
    if levels.len() < 2 {
        return;
    }
    if let (Some(mut level), Some(outer)) = (levels.pop(), levels.last_mut()) {
        level.end_item();
        outer.brackets = outer.brackets.max(level.item.plus(1));
    }
}

fn is_operator(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::NOT
            | K::IS
            | K::IN
            | K::LIKE
            | K::ILIKE
            | K::SIMILAR
            | K::RLIKE
            | K::REGEXP
            | K::BETWEEN
            | K::NOTNULL
            | K::COLLATE
            | K::AT
            | K::XOR
            | K::DIV
            | K::OVERLAPS
            | K::MEMBER
            | K::INTERVAL
            | K::PRIOR
            | K::BINARY
            | K::SELECT
    )
}

fn is_value(token: &Token) -> bool {
    is_space(token)
        || matches!(
            token,
            Token::Word(_)
                | Token::Number(..)
                | Token::SingleQuotedString(_)
                | Token::HexStringLiteral(_)
                | Token::NationalStringLiteral(_)
                | Token::EscapedStringLiteral(_)
                | Token::DollarQuotedString(_)
                | Token::SemiColon
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(sql: &str) -> usize {
        depth_of(&tokens(sql, false).expect("tokens")).planned
    }

    #[test]
    fn depths_are_no_less_than_those_of_the_tree() {
        let many = |n: usize, text: &str| vec![text; n].join(" ");
        for (sql, least, most) in [
            ("a = 1".to_owned(), 2, 2),
            (format!("a{}", "+1".repeat(700)), 700, 702),
            (format!("a = 1{}", many(700, " AND b = 2")), 10, 14),
            (format!("{}a{}", "(".repeat(40), ")".repeat(40)), 41, 41),
            (format!("{}a", many(90, "NOT ")), 91, 91),
            (format!("a IN (1{})", ",1+1".repeat(9000)), 4, 5),
            (format!("CASE{} END", many(900, " WHEN a = 1 THEN 2")), 3, 4),
            (format!("a{} + 1", ".b".repeat(300)), 301, 303),
            (format!("a{}", "[1]".repeat(300)), 301, 303),
            (format!("a{}", "::int".repeat(300)), 301, 302),
            (format!("a{}", " IS NULL".repeat(300)), 301, 302),
            (
                format!(
                    "CASE WHEN a{} THEN 1 END{}",
                    "+1".repeat(300),
                    "+1".repeat(300)
                ),
                601,
                604,
            ),
            (
                format!("CAST(a AS {}int{})", "ARRAY<".repeat(99), ">".repeat(99)),
                100,
                210,
            ),
        ] {
            let depth = planned(&sql);
            let start: String = sql.chars().take(30).collect();
            assert!((least..=most).contains(&depth), "{start}: {depth}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        for (sql, want) in [
            (format!("a{}", "+1".repeat(1100)), "at most 1024"),
            (format!("a{}", " AND a".repeat(30_000)), "at most 20000"),
            (
                format!("a IN (1{})", ",1".repeat(400_000)),
                "at most 524288",
            ),
            (" ".repeat(5 << 20), "bytes, at most"),
        ] {
            let message = depth(&sql).expect_err("too deep").to_string();
            assert!(message.contains(want), "{message}");
        }
        assert!(depth(&format!("a IN (1{})", ",1".repeat(100_000))).is_ok());
        assert!(depth(&format!("a = 1{}", " OR a = 1".repeat(10_000))).is_ok());
    }
}
