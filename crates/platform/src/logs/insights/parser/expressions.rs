//! Expressions of a query: `or` binds least, then `and`, `not`, comparisons, sums, products, powers.

use super::{
    super::{
        super::sign::Sign,
        MAX_DEPTH,
        aggregate::{Aggregate, Kind},
        expression::{Expression, Operation},
        functions::{Function, Period},
        value::Value,
    },
    Parser,
};

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("expressions are nested deeper than {MAX_DEPTH}"));
        }
        let mut left = self.conjunction()?;
        while self.reader.take_word("or") || self.reader.take("||") {
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, String> {
        let mut left = self.negation()?;
        while self.reader.take_word("and") || self.reader.take("&&") {
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expression, String> {
        let mut negations = 0usize;
        while self.reader.take_word("not") {
            negations += 1;
        }
        let inner = self.comparison()?;
        Ok(if negations % 2 == 1 { Expression::Not(Box::new(inner)) } else { inner })
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.sum()?;
        if self.reader.take("=~") {
            return self.like(left);
        }
        if self.reader.take_word("not") {
            let inner = if self.reader.take_word("like") {
                self.like(left)?
            } else {
                self.reader.expect_word("in")?;
                self.within(left)?
            };
            return Ok(Expression::Not(Box::new(inner)));
        }
        if self.reader.take_word("like") {
            return self.like(left);
        }
        if self.reader.take_word("in") {
            return self.within(left);
        }
        let signs = [
            ("!=", Sign::NotEqual),
            ("<>", Sign::NotEqual),
            (">=", Sign::AtLeast),
            ("<=", Sign::AtMost),
            ("==", Sign::Equal),
            ("=", Sign::Equal),
            (">", Sign::Greater),
            ("<", Sign::Less),
        ];
        let Some(sign) = signs.into_iter().find_map(|(text, sign)| self.reader.take(text).then_some(sign)) else { return Ok(left) };
        Ok(Expression::Compare(sign, Box::new(left), Box::new(self.sum()?)))
    }

    fn like(&mut self, left: Expression) -> Result<Expression, String> {
        if let Some(regex) = self.reader.regex()? {
            return Ok(Expression::Matches(Box::new(left), regex));
        }
        let text = self.reader.quoted()?.ok_or_else(|| self.reader.wanted("a text or /a regular expression/"))?;
        Ok(Expression::Contains(Box::new(left), text))
    }

    fn within(&mut self, left: Expression) -> Result<Expression, String> {
        let close = if self.reader.take("(") {
            ")"
        } else {
            self.reader.expect("[")?;
            "]"
        };
        let mut list = Vec::new();
        self.list(|parser| {
            list.push(parser.expression()?);
            Ok(())
        })?;
        self.reader.expect(close)?;
        Ok(Expression::In(Box::new(left), list))
    }

    fn sum(&mut self) -> Result<Expression, String> {
        let mut left = self.product()?;
        loop {
            let operation = match self.reader.peek() {
                Some('+') => Operation::Add,
                Some('-') => Operation::Subtract,
                _ => return Ok(left),
            };
            self.reader.take(if operation == Operation::Add { "+" } else { "-" });
            left = Expression::Arithmetic(operation, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, String> {
        let mut left = self.power()?;
        loop {
            let (sign, operation) = match self.reader.peek() {
                Some('*') => ("*", Operation::Multiply),
                Some('/') => ("/", Operation::Divide),
                Some('%') => ("%", Operation::Remainder),
                _ => return Ok(left),
            };
            self.reader.take(sign);
            left = Expression::Arithmetic(operation, Box::new(left), Box::new(self.power()?));
        }
    }

    fn power(&mut self) -> Result<Expression, String> {
        let base = self.atom()?;
        if !self.reader.take("^") {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("expressions are nested deeper than {MAX_DEPTH}"));
        }
        let exponent = self.power()?;
        self.depth -= 1;
        Ok(Expression::Arithmetic(Operation::Power, Box::new(base), Box::new(exponent)))
    }

    fn atom(&mut self) -> Result<Expression, String> {
        match self.reader.peek() {
            Some('(') => {
                self.reader.expect("(")?;
                let inner = self.expression()?;
                self.reader.expect(")")?;
                Ok(inner)
            }
            Some('-') => {
                self.reader.expect("-")?;
                let (number, unit) = self.reader.number()?;
                if unit.is_empty() { Ok(constant(-number)) } else { Err(self.reader.wanted("a number without a unit")) }
            }
            Some(digit) if digit.is_ascii_digit() => {
                let (number, unit) = self.reader.number()?;
                if unit.is_empty() { Ok(constant(number)) } else { Err(format!("`{unit}` after a number: periods stand in bin(…) only")) }
            }
            Some('"' | '\'') => Ok(Expression::Constant(Value::Text(self.reader.quoted()?.unwrap_or_default()))),
            Some('`') => {
                let name = self.reader.field()?;
                Ok(Expression::Slot(self.slot(&name)))
            }
            _ => self.name(),
        }
    }

    /// A field, or a call.
    fn name(&mut self) -> Result<Expression, String> {
        let name = self.reader.field()?;
        if !self.reader.take("(") {
            return Ok(match name.to_ascii_lowercase().as_str() {
                "true" => Expression::Constant(Value::Flag(true)),
                "false" => Expression::Constant(Value::Flag(false)),
                _ => Expression::Slot(self.slot(&name)),
            });
        }
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "bin" => {
                let period = self.period()?;
                self.reader.expect(")")?;
                Ok(Expression::Call(Function::Floor(period), vec![Expression::Slot(self.slot("@timestamp"))]))
            }
            "datefloor" | "dateceil" => {
                let time = self.expression()?;
                self.reader.expect(",")?;
                let period = self.period()?;
                self.reader.expect(")")?;
                let function = if lower == "datefloor" { Function::Floor(period) } else { Function::Ceiling(period) };
                Ok(Expression::Call(function, vec![time]))
            }
            _ => match self.aggregate(&lower)? {
                Some(aggregate) => Ok(aggregate),
                None => self.call(&name),
            },
        }
    }

    fn period(&mut self) -> Result<Period, String> {
        let (number, unit) = self.reader.number()?;
        Period::read(number, unit)
    }

    fn call(&mut self, name: &str) -> Result<Expression, String> {
        let mut arguments = Vec::new();
        if !self.reader.take(")") {
            self.list(|parser| {
                arguments.push(parser.expression()?);
                Ok(())
            })?;
            self.reader.expect(")")?;
        }
        let function = Function::named(name, arguments.len()).ok_or_else(|| format!("there is no function `{name}`"))??;
        Ok(Expression::Call(function, arguments))
    }

    /// `None`: the name is no aggregate's.
    fn aggregate(&mut self, name: &str) -> Result<Option<Expression>, String> {
        let kind = match name {
            "count" => Kind::Count,
            "count_distinct" => Kind::CountDistinct,
            "sum" => Kind::Sum,
            "avg" => Kind::Average,
            "min" => Kind::Min,
            "max" => Kind::Max,
            "pct" => Kind::Percentile(0.0),
            "stddev" => Kind::Deviation,
            "earliest" => Kind::Earliest,
            "latest" => Kind::Latest,
            "sortsfirst" => Kind::SortsFirst,
            "sortslast" => Kind::SortsLast,
            _ => return Ok(None),
        };
        let Some(met) = self.gathering.take() else { return Err(format!("`{name}` may stand in `stats` only")) };
        let (kind, of) = self.gathered(kind)?;
        self.reader.expect(")")?;
        let time = self.slot("@timestamp");
        let mut met = met;
        met.push(Aggregate { kind, of, time });
        let number = met.len() - 1;
        self.gathering = Some(met);
        Ok(Some(Expression::Aggregate(number)))
    }

    /// What stands in the parentheses of an aggregate. No other aggregate may: the list of them is away meanwhile.
    fn gathered(&mut self, kind: Kind) -> Result<(Kind, Expression), String> {
        if kind == Kind::Count && (self.reader.take("*") || self.reader.peek() == Some(')')) {
            return Ok((Kind::Rows, constant(1.0)));
        }
        let of = self.expression()?;
        if !matches!(kind, Kind::Percentile(_)) {
            return Ok((kind, of));
        }
        self.reader.expect(",")?;
        let (percent, unit) = self.reader.number()?;
        if !unit.is_empty() || percent > 100.0 {
            return Err("`pct` takes a field and a percentile of 0 to 100".into());
        }
        Ok((Kind::Percentile(percent), of))
    }
}

fn constant(number: f64) -> Expression {
    Expression::Constant(Value::Number(number))
}
