BeforeAll {
    . (Join-Path $PSScriptRoot 'Common.ps1')
    $folder = Join-Path $TestDrive 'play'
    New-Playground $folder
    $bundle = Join-Path $folder 'Backups/Documents.sparsebundle'
    $documents = Join-Path $folder 'Documents'
}

Describe 'ConvertTo-ReadOnlyImage' {
    It 'makes a compressed image beside the source, with the same files' {
        $image = ConvertTo-ReadOnlyImage $bundle
        $image.Path | Should -Be (Join-Path $folder 'Backups/Documents.dmg')
        $image.Format | Should -Be 'ReadOnlyZlib'
        $restored = Join-Path $folder 'r1'
        $null = Restore-BackupImage $image.Path $restored
        Get-TreeDigest $restored | Should -Be (Get-TreeDigest $documents)
    }

    It 'makes UDRO from <_>' -ForEach 'Documents.sparsebundle', 'Photos.sparseimage', 'Disk.dmg' {
        $target = Join-Path $folder "udro-$_.dmg"
        $image = ConvertTo-ReadOnlyImage (Join-Path $folder "Backups/$_") $target -Format UDRO
        $image.Format | Should -Be 'ReadOnly'
        Compare-Object (Get-BackupImageItem $target).ItemPath (Get-BackupImageItem (Join-Path $folder 'Backups/Disk.dmg')).ItemPath | Should -BeNullOrEmpty
    }

    It 'puts several images into a folder' {
        $made = Get-ChildItem (Join-Path $folder 'Backups/*.sparse*') | ConvertTo-ReadOnlyImage -DestinationPath (Join-Path $folder 'Archive')
        $made.Path | Sort-Object | Should -Be (Join-Path $folder 'Archive/Documents.dmg'), (Join-Path $folder 'Archive/Photos.dmg')
    }

    It 'does not let a second image replace the first' {
        $target = Join-Path $folder 'only.dmg'
        $made = Get-ChildItem (Join-Path $folder 'Backups/*.sparse*') | ConvertTo-ReadOnlyImage -DestinationPath $target -Force -ErrorVariable errors -ErrorAction SilentlyContinue
        @($made).Count | Should -Be 1
        $errors[0].FullyQualifiedErrorId | Should -BeLike 'DestinationExists,*'
    }

    It 'says without -Force, too, that an earlier image went there' {
        $target = Join-Path $folder 'first only.dmg'
        $null = Get-ChildItem (Join-Path $folder 'Backups/*.sparse*') | ConvertTo-ReadOnlyImage -DestinationPath $target -ErrorVariable errors -ErrorAction SilentlyContinue
        $errors[0].ErrorDetails.RecommendedAction | Should -Match 'folder'
    }

    It 'refuses to take the place of its own source' {
        $e = { ConvertTo-ReadOnlyImage (Join-Path $folder 'Backups/Disk.dmg') -Force -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument,*' -PassThru
        $e.ErrorDetails.RecommendedAction | Should -Match '-DestinationPath'
    }

    It 'refuses a format that can be written to' { { ConvertTo-ReadOnlyImage $bundle (Join-Path $folder 'x.dmg') -Format Sparse -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument,*' }

    It 'leaves an image that exists alone unless forced' {
        $target = Join-Path $folder 'twice.dmg'
        $null = ConvertTo-ReadOnlyImage $bundle $target
        { ConvertTo-ReadOnlyImage $bundle $target -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationExists,*'
        (ConvertTo-ReadOnlyImage $bundle $target -Force).Path | Should -Be $target
    }

    It 'keeps free space when asked to' {
        $kept = ConvertTo-ReadOnlyImage $bundle (Join-Path $folder 'kept.dmg') -KeepFreeSpace
        $kept.CapacityBytes | Should -Be (Get-BackupImage $bundle).CapacityBytes
    }

    It 'deletes the source when asked to, and only then' {
        $copy = Join-Path $folder 'copy.sparseimage'
        Copy-Item (Join-Path $folder 'Backups/Photos.sparseimage') $copy
        $null = ConvertTo-ReadOnlyImage $copy (Join-Path $folder 'c1.dmg')
        Test-Path $copy | Should -BeTrue
        $null = ConvertTo-ReadOnlyImage $copy (Join-Path $folder 'c2.dmg') -DeleteSource -WhatIf
        Test-Path $copy | Should -BeTrue
        $null = ConvertTo-ReadOnlyImage $copy (Join-Path $folder 'c3.dmg') -DeleteSource
        Test-Path $copy | Should -BeFalse
        @(Get-BackupImageItem (Join-Path $folder 'c3.dmg')).Count | Should -BeGreaterThan 5
    }

    It 'writes nothing with -WhatIf' {
        $null = ConvertTo-ReadOnlyImage $bundle (Join-Path $folder 'no.dmg') -WhatIf
        Test-Path (Join-Path $folder 'no.dmg') | Should -BeFalse
    }

    It 'says with -WhatIf what could not be done' {
        { ConvertTo-ReadOnlyImage $bundle ((Join-Path $folder 'Missing') + '/') -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationNotFound*'
        Join-Path $folder 'Missing' | Should -Not -Exist
        { ConvertTo-ReadOnlyImage $bundle (Join-Path $folder 'nowhere/no.dmg') -WhatIf -ErrorAction Stop } | Should -Throw -ErrorId 'DestinationNotFound*'
        { ConvertTo-ReadOnlyImage $bundle $bundle/no.dmg -WhatIf -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument*'
    }

    Context 'a damaged source' {
        BeforeAll {
            $damaged = Join-Path $folder 'damaged.dmg'
            $null = ConvertTo-ReadOnlyImage $bundle $damaged -Format ReadOnly
            $bytes = [IO.File]::ReadAllBytes($damaged)
            $bytes[[int]($bytes.Length / 2)] = $bytes[[int]($bytes.Length / 2)] -bxor 4
            [IO.File]::WriteAllBytes($damaged, $bytes)
            $target = Join-Path $folder 'from damaged.dmg'
        }

        It 'is refused, and nothing is left' {
            { ConvertTo-ReadOnlyImage $damaged $target -ErrorAction Stop } | Should -Throw -ErrorId 'ChecksumMismatch,*'
            $target | Should -Not -Exist
            (Get-ChildItem $folder -Filter 'from damaged*').Count | Should -Be 0
        }

        It 'is taken over with -AllowDamaged: the object, then one error' {
            $made = ConvertTo-ReadOnlyImage $damaged $target -AllowDamaged -ErrorVariable errors -ErrorAction SilentlyContinue
            $made.Damage.Problems.Count | Should -BeGreaterThan 0
            $made.Damage.Bytes | Should -BeGreaterThan 0
            $errors.Count | Should -Be 1
            $errors[0].FullyQualifiedErrorId | Should -BeLike 'ConvertedInPart,*'
        }

        It 'is never deleted' {
            { ConvertTo-ReadOnlyImage $damaged (Join-Path $folder 'y.dmg') -DeleteSource -ErrorAction Stop } | Should -Throw -ErrorId 'ChecksumMismatch,*'
            { ConvertTo-ReadOnlyImage $damaged (Join-Path $folder 'y.dmg') -DeleteSource -AllowDamaged -ErrorAction Stop } | Should -Throw -ErrorId 'InvalidArgument,*'
            $damaged | Should -Exist
        }
    }

    It 'does not convert or delete a bundle whose first band is gone' {
        $lost = Join-Path $folder 'lost.sparsebundle'
        Copy-Item -Recurse $bundle $lost
        Remove-Item (Join-Path $lost 'bands/0')
        { ConvertTo-ReadOnlyImage $lost (Join-Path $folder 'z.dmg') -DeleteSource -ErrorAction Stop } | Should -Throw -ErrorId 'ImageDamaged,*'
        $lost | Should -Exist
        Test-BackupImage $lost | Should -BeFalse
    }
}
