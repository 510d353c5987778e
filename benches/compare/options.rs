//! Arguments: `--rounds N`, and `--seconds N` for each measurement.

pub(crate) struct Options {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
}

impl Options {
    pub(crate) fn from_arguments() -> Result<Self, String> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { rounds: 5, seconds: 4 };
        while let Some(argument) = arguments.next() {
            let place = match argument.as_str() {
                "--rounds" => &mut options.rounds,
                "--seconds" => &mut options.seconds,
                _ => return Err(format!("unknown argument {argument:?}; there are --rounds N, --seconds N")),
            };
            let value = arguments.next().unwrap_or_default();
            *place = match value.parse() {
                Ok(number @ 1..=1000) => number,
                _ => return Err(format!("{argument} takes a number from 1 to 1000, not {value:?}")),
            };
        }
        Ok(options)
    }
}
