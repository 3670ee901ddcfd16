package com.example.upscale

import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

class TilesTest {
    @Test
    fun `windows keep every pixel once and a halo away from each cut`() {
        for (halo in 0..9) for (alignment in 1..4) for (window in 2 * halo + alignment..32) for (length in 1..120) {
            val case = "halo $halo, alignment $alignment, window $window, length $length"
            val axis = planAxis(length, window, Reach(halo, alignment))
            var kept = 0
            for (span in axis.spans) {
                val end = span.start + window
                assertEquals(case, kept, span.first)
                assertTrue(case, span.last > span.first && span.start % alignment == 0 && end <= axis.padded)
                assertTrue(case, span.start == 0 || span.first - span.start >= halo)
                assertTrue(case, end == axis.padded || end - span.last >= halo)
                kept = span.last
            }
            assertEquals(case, length, kept)
            assertEquals(case, axis.padded, axis.spans.last().start + window)
        }
    }

    @Test
    fun `the last window ends with the picture`() {
        val spans = listOf(Span(0, 0, 122), Span(116, 122, 208), Span(172, 208, 300))
        assertEquals(Axis(300, spans), planAxis(300, 128, Reach(6, 1)))
    }

    @Test
    fun `a network of the whole picture is not cut`() {
        assertEquals(Axis(128, listOf(Span(0, 0, 90))), planAxis(90, 128, Reach(null, 1)))
        assertThrows(Fault::class.java) { planAxis(129, 128, Reach(null, 1)) }
    }

    @Test
    fun `a window that two halos fill is refused`() {
        assertThrows(Fault::class.java) { planAxis(129, 128, Reach(64, 1)) }
    }

    @Test
    fun `what lies beyond the end is mirrored`() {
        assertEquals(listOf(0, 1, 2, 2, 1, 0, 0, 1), (0..7).map { mirrored(it, 3) })
    }
}
