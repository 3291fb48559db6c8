BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $source = Join-Path $TestDrive 'source'
    New-SourceTree $source
    $secret = ConvertTo-SecureString 'correct horse' -AsPlainText -Force

    # What a deleted file leaves: a band of noise in the middle of the free space.
    function Add-FreeBand($Bundle, $Number) {
        $noise = [byte[]]::new(1MB)
        [Random]::new(1).NextBytes($noise)
        [IO.File]::WriteAllBytes((Join-Path $Bundle "bands/$Number"), $noise)
    }
}

Describe 'Compress-BackupImage of a sparse bundle, encryption <Encryption>' -ForEach @(
    @{ Encryption = 'None' }
    @{ Encryption = 'Aes128' }
) {
    BeforeAll {
        $given = $Encryption -eq 'None' ? @{} : @{ Passphrase = $secret }
        $image = (New-BackupImage $source (Join-Path $TestDrive "$Encryption.sparsebundle") -SizeBytes 40MB -BandSizeBytes 1MB -Encryption $Encryption @given).Path
        Add-FreeBand $image '14'
        Add-FreeBand $image '15'
    }

    It 'shows what would be given back, and does nothing' {
        (Get-BackupImage $image @given).ReclaimableBytes | Should -BeGreaterOrEqual 2MB
        $estimate = Compress-BackupImage $image @given -WhatIf
        $estimate.IsEstimate | Should -BeTrue
        $estimate.BandsRemoved | Should -Be 2
        $estimate.ReclaimedBytes | Should -BeGreaterOrEqual 2MB
        Test-Path (Join-Path $image 'bands/14') | Should -BeTrue
    }

    It 'does nothing with $WhatIfPreference either, forced or not' {
        $WhatIfPreference = $true
        (Compress-BackupImage $image @given -Force).IsEstimate | Should -BeTrue
        Test-Path (Join-Path $image 'bands/14') | Should -BeTrue
    }

    It 'leaves alone what is not worth it' {
        $result = Compress-BackupImage $image @given -MinimumReclaimBytes 1GB
        $result.Reason | Should -Be 'BelowMinimum'
        Test-Path (Join-Path $image 'bands/14') | Should -BeTrue
    }

    It 'gives it back, and the files stay' {
        $result = Optimize-BackupImage $image @given -PassThru
        $result.BandsRemoved | Should -Be 2
        $result.ReclaimedBytes | Should -BeGreaterOrEqual 2MB
        $result.StoredBytesAfter | Should -Be ($result.StoredBytesBefore - $result.ReclaimedBytes)
        $result.Image.Path | Should -Be $image
        $result.Image.ReclaimableBytes | Should -Be 0
        Test-Path (Join-Path $image 'bands/14') | Should -BeFalse
        Test-BackupImage $image @given | Should -BeTrue
        $target = Join-Path $TestDrive "restored-$Encryption"
        $null = Restore-BackupImage $image $target @given
        Get-TreeDigest $target | Should -Be (Get-TreeDigest $source)
    }

    It 'says that nothing is left, through the pipeline' {
        (Get-Item $image | Compress-BackupImage @given).Reason | Should -Be 'NothingFree'
    }
}

Describe 'Compress-BackupImage' {
    It 'cuts a sparse image whose volume shrank' {
        $image = (New-BackupImage $source (Join-Path $TestDrive 'a.sparseimage') -SizeBytes 40MB).Path
        Resize-BackupImage $image -SizeBytes 30MB
        $result = Compress-BackupImage $image
        $result.ReclaimedBytes | Should -BeGreaterOrEqual 0
        (Get-Item $image).Length | Should -Be $result.StoredBytesAfter
        Test-BackupImage $image | Should -BeTrue
        (Compress-BackupImage $image).ReclaimedBytes | Should -Be 0
    }

    It 'says <Reason> of <Name>' -ForEach @(
        @{ Name = 'a.dmg'; Format = 'ReadOnlyZlib'; Reason = 'ReadOnlyFormat' }
        @{ Name = 'b.dmg'; Format = 'ReadWrite'; Reason = 'FixedSizeFormat' }
    ) {
        $image = New-BackupImage $source (Join-Path $TestDrive $Name) -Format $Format
        $result = $image | Compress-BackupImage
        $result.Reason | Should -Be $Reason
        $result.ReclaimedBytes | Should -Be 0
    }

    It 'refuses an image that is open elsewhere' {
        $image = (New-BackupImage $source (Join-Path $TestDrive 'used.sparsebundle')).Path
        $open = [IO.File]::Open((Join-Path $image 'token'), 'Open', 'ReadWrite', 'None')
        try {
            { Compress-BackupImage $image -ErrorAction Stop } | Should -Throw -ErrorId 'ImageInUse*'
        }
        finally {
            $open.Dispose()
        }
    }
}
