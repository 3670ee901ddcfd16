// How a picture is cut into windows of one size that give the whole picture's pixels, in LR pixels. No framework here.

/// What the user reads in one line: the rule, what came, what to do.
struct Fault: Error {
    let message: String

    init(_ message: String) {
        self.message = message
    }
}

/// How far a network looks, by manifest.json: no output pixel depends on more than `halo` LR pixels around it, nil if
/// on the whole picture, and windows start at multiples of `alignment`.
struct Reach: Equatable, Sendable {
    let halo: Int?
    let alignment: Int
}

/// A window from `start` on; its pixels from `first` to before `last` are kept.
struct Span: Equatable, Sendable {
    let start: Int
    let first: Int
    let last: Int
}

/// The windows along one axis of `length` pixels, over a picture that is mirrored where it is shorter than a window.
///
/// The last one ends with the picture, where the network's own padding is the whole picture's. Throws `Fault` where
/// the network can't be cut that small.
func planAxis(length: Int, window: Int, reach: Reach) throws -> [Span] {
    let beyond = max(length - window, 0)
    let end = (beyond + reach.alignment - 1) / reach.alignment * reach.alignment
    if end == 0 {
        return [Span(start: 0, first: 0, last: length)]
    }
    let step = try step(length: length, window: window, reach: reach)
    var spans: [Span] = []
    var start = 0
    var first = 0
    while start < end {
        let next = min(start + step, end)
        // Windows overlap by two halos at least, so the middle of the overlap is a halo away from either's end.
        let last = (next + start + window) / 2
        spans.append(Span(start: start, first: first, last: last))
        start = next
        first = last
    }
    spans.append(Span(start: start, first: first, last: length))
    return spans
}

private func step(length: Int, window: Int, reach: Reach) throws -> Int {
    guard let halo = reach.halo else {
        throw Fault(
            "The network looks at the whole picture, so \(length) pixels can't be cut into windows of \(window); "
                + "pick a smaller picture or export a larger size.")
    }
    let least = 2 * halo + reach.alignment
    guard window >= least else {
        throw Fault(
            "Windows of \(window) pixels leave nothing between two halos of \(halo); export \(least) or more.")
    }
    return (window - 2 * halo) / reach.alignment * reach.alignment
}

/// The pixel that stands at `index` of a picture of `length` pixels mirrored at its end, its last pixel repeated.
func mirrored(_ index: Int, length: Int) -> Int {
    let place = index % (2 * length)
    return place < length ? place : 2 * length - 1 - place
}
