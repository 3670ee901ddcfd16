// How a picture is cut into windows of one size that give the whole picture's pixels, in LR pixels. No Android here.
package com.example.upscale

import kotlin.math.max
import kotlin.math.min

/**
 * How far a network looks, by manifest.json: no output pixel depends on more than [halo] LR pixels around it, null if
 * on the whole picture, and windows start at multiples of [alignment].
 */
data class Reach(val halo: Int?, val alignment: Int)

/** A window from [start] on; its pixels from [first] to before [last] are kept. */
data class Span(val start: Int, val first: Int, val last: Int)

/** The windows along one axis, over a picture that is mirrored up to [padded] where it is shorter than that. */
data class Axis(val padded: Int, val spans: List<Span>)

/**
 * Cuts [length] pixels into windows of [window]. The last one ends with the picture, where the network's own padding
 * is the whole picture's. Throws [Fault] where the network can't be cut that small.
 */
fun planAxis(length: Int, window: Int, reach: Reach): Axis {
    val beyond = max(length - window, 0)
    val padded = window + (beyond + reach.alignment - 1) / reach.alignment * reach.alignment
    if (padded == window) return Axis(padded, listOf(Span(0, 0, length)))
    val step = step(length, window, reach)
    val spans = mutableListOf<Span>()
    var start = 0
    var first = 0
    while (start < padded - window) {
        val next = min(start + step, padded - window)
        // Windows overlap by two halos at least, so the middle of the overlap is a halo away from either's end.
        val last = (next + start + window) / 2
        spans += Span(start, first, last)
        start = next
        first = last
    }
    return Axis(padded, spans + Span(start, first, length))
}

private fun step(length: Int, window: Int, reach: Reach): Int {
    val halo = reach.halo ?: throw Fault(
        "The network looks at the whole picture, so $length pixels can't be cut into windows of $window; " +
            "pick a smaller picture or export a larger size.",
    )
    val least = 2 * halo + reach.alignment
    if (window < least) {
        throw Fault("Windows of $window pixels leave nothing between two halos of $halo; export $least or more.")
    }
    return (window - 2 * halo) / reach.alignment * reach.alignment
}

/** The pixel that stands at [index] of a picture of [length] pixels mirrored at its end, its last pixel repeated. */
fun mirrored(index: Int, length: Int): Int {
    val place = index % (2 * length)
    return if (place < length) place else 2 * length - 1 - place
}
