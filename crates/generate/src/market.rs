//! Instruments whose prices walk. Pure.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use mpsync_core::decimal::Decimal;

/// A coin: its first price, in ticks of `10^-price_scale`, and the size of its quantities.
struct Coin {
    base: &'static str,
    start_ticks: i64,
    price_scale: u32,
    quantity_scale: u32,
    /// Digits of the largest usual quantity, in units of `10^-quantity_scale`.
    quantity_digits: u32,
}

const fn coin(
    base: &'static str,
    start_ticks: i64,
    price_scale: u32,
    quantity_scale: u32,
    quantity_digits: u32,
) -> Coin {
    Coin {
        base,
        start_ticks,
        price_scale,
        quantity_scale,
        quantity_digits,
    }
}

/// From 65,000 down to 1e-10 USDT.
const COINS: [Coin; 20] = [
    coin("BTC", 650_000, 1, 3, 5),
    coin("PEPE", 92_000, 11, 0, 10),
    coin("ETH", 320_000, 2, 3, 6),
    coin("SATS", 1_000, 13, 0, 12),
    coin("SOL", 15_000, 2, 2, 6),
    coin("SHIB", 92_000, 10, 0, 9),
    coin("DOGE", 12_000, 5, 0, 7),
    coin("XRP", 5_200, 4, 1, 7),
    coin("ADA", 3_500, 4, 1, 7),
    coin("TRX", 53_450, 6, 0, 7),
    coin("LINK", 15_068, 3, 2, 6),
    coin("AVAX", 26_310, 3, 2, 5),
    coin("LTC", 84_120, 3, 3, 6),
    coin("DOT", 4_120, 3, 1, 6),
    coin("BCH", 50_812, 2, 3, 6),
    coin("ETC", 42_230, 3, 2, 6),
    coin("NKN", 35_280, 5, 0, 6),
    coin("KEEP", 24_660, 5, 0, 6),
    coin("COMP", 50_812, 3, 4, 7),
    coin("BTT", 9_200, 10, 0, 10),
];

/// An instrument of one exchange, traded under one symbol.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) exchange: String,
    pub(super) market_type: &'static str,
    pub(super) symbol: String,
    /// The exchange's own name.
    pub(super) native_name: String,
    pub(super) price_scale: u32,
    pub(super) quantity_scale: u32,
    quantity_digits: u32,
    start_ticks: i64,
    /// The middle of the book, in ticks.
    pub(super) mid_ticks: i64,
    /// The number of the last trade.
    pub(super) trade_id: u64,
    /// The number of the last book.
    pub(super) update_id: u64,
    /// Whether a book was sent yet: the first is a snapshot.
    pub(super) has_book: bool,
    /// The last event time of each kind whose identity is its time, by the kind's place.
    pub(super) last_ms: [i64; 8],
}

impl Instrument {
    fn new(exchange: &str, number: u32, rng: &mut ChaCha8Rng) -> Self {
        let coin = &COINS[number as usize % COINS.len()];
        let round = number as usize / COINS.len();
        let base = match round {
            0 => coin.base.to_owned(),
            more => format!("{}{}", coin.base, more + 1),
        };
        let market_type = if exchange == "deribit" || number % 3 != 1 {
            "perpetual"
        } else {
            "spot"
        };
        let native_name = match (exchange, market_type) {
            ("okx", "perpetual") => format!("{base}-USDT-SWAP"),
            ("okx", _) => format!("{base}-USDT"),
            ("deribit", _) => format!("{base}_USDT-PERPETUAL"),
            _ => format!("{base}USDT"),
        };
        Self {
            exchange: exchange.to_owned(),
            market_type,
            symbol: format!("{base}-USDT"),
            native_name,
            price_scale: coin.price_scale,
            quantity_scale: coin.quantity_scale,
            quantity_digits: coin.quantity_digits,
            start_ticks: coin.start_ticks,
            mid_ticks: coin.start_ticks,
            trade_id: rng.random_range(1_000_000..900_000_000),
            update_id: rng.random_range(100_000_000_000..200_000_000_000),
            has_book: false,
            last_ms: [i64::MIN; 8],
        }
    }

    pub(super) fn is_perpetual(&self) -> bool {
        self.market_type == "perpetual"
    }

    /// Lets the price take a step: mostly some ticks, now and then a jump, never below half or above twice its start.
    pub(super) fn walk(&mut self, rng: &mut ChaCha8Rng) {
        let unit = (self.start_ticks / 50_000).max(1);
        let jump = if rng.random_range(0..100_u32) == 0 {
            15
        } else {
            1
        };
        let step = rng.random_range(-3..=3_i64) * unit * jump;
        self.mid_ticks = (self.mid_ticks + step).clamp(self.start_ticks / 2, self.start_ticks * 2);
    }

    pub(super) fn price(&self, ticks: i64) -> Decimal {
        Decimal::new(i128::from(ticks), self.price_scale)
    }

    /// A quantity above zero: small ones are as common as large ones, digit for digit.
    pub(super) fn quantity(&self, rng: &mut ChaCha8Rng) -> Decimal {
        let digits = rng.random_range(1..=self.quantity_digits);
        let units = rng.random_range(1..10_i64.pow(digits));
        Decimal::new(i128::from(units), self.quantity_scale)
    }

    /// How many digits after the point this market's texts have at least.
    pub(super) fn padding(&self) -> u32 {
        if self.market_type == "spot" { 8 } else { 0 }
    }

    /// The first free millisecond from `ms` on for a kind whose identity is its time.
    pub(super) fn own_ms(&mut self, place: usize, ms: i64) -> i64 {
        let last = &mut self.last_ms[place];
        *last = ms.max(last.saturating_add(1));
        *last
    }
}

/// All instruments.
#[derive(Debug)]
pub(super) struct Market {
    pub(super) instruments: Vec<Instrument>,
    /// The last time of each volatility index, by currency.
    pub(super) volatility: [Volatility; 2],
    pub(super) volatility_exchange: String,
    exchanges: u32,
}

/// An index of implied volatility, in hundredths.
#[derive(Debug)]
pub(super) struct Volatility {
    pub(super) currency: &'static str,
    pub(super) open: i64,
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) value: i64,
    pub(super) last_ms: i64,
}

impl Volatility {
    fn new(currency: &'static str, value: i64) -> Self {
        Self {
            currency,
            open: value,
            high: value,
            low: value,
            value,
            last_ms: i64::MIN,
        }
    }
}

impl Market {
    pub(super) fn new(exchanges: &[String], symbols: u32, rng: &mut ChaCha8Rng) -> Self {
        let on = |exchange: &String, rng: &mut ChaCha8Rng| -> Vec<Instrument> {
            (0..symbols)
                .map(|number| Instrument::new(exchange, number, rng))
                .collect()
        };
        let mut instruments = Vec::new();
        for exchange in exchanges {
            instruments.append(&mut on(exchange, rng));
        }
        let deribit = exchanges.iter().find(|name| *name == "deribit");
        Self {
            instruments,
            volatility: [Volatility::new("BTC", 4520), Volatility::new("ETH", 6810)],
            volatility_exchange: deribit.or(exchanges.first()).cloned().unwrap_or_default(),
            exchanges: u32::try_from(exchanges.len()).unwrap_or(u32::MAX).max(1),
        }
    }

    /// An instrument by its place; the first symbols of each exchange are drawn far more often than the last.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        // Places are 32-bit: a draw over usize would differ between machines.
        let all = u32::try_from(self.instruments.len()).unwrap_or(u32::MAX);
        let first = rng.random_range(0..all);
        let second = rng.random_range(0..=first);
        // The instruments lie exchange by exchange; spread the favoured low places over all of them.
        let symbols = all / self.exchanges;
        ((second % self.exchanges) * symbols + second / self.exchanges) as usize
    }

    /// The perpetual at this place or the next one after it; the first symbol of each exchange is one.
    pub(super) fn perpetual(&self, place: usize) -> usize {
        let all = self.instruments.len();
        (0..all)
            .map(|step| (place + step) % all)
            .find(|at| self.instruments[*at].is_perpetual())
            .unwrap_or(place)
    }
}
